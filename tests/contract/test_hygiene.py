"""Nothing in the repository belongs to one machine, one registry or one person, and nothing is left for later."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THIS = Path(__file__).relative_to(ROOT).as_posix()
# A container's own paths are no machine's: the build's caches in a Dockerfile.
OF_A_MACHINE = re.compile(r"(?<![\w.])/(?:root|home/\w+|Users/\w+|work|mnt|private)/(?!\.cache/)\S+")
OF_A_REGISTRY = re.compile(r"(--(?:extra-)?index-url|--find-links|--trusted-host)[ =]\S+|\b\S+/simple/?(?=\s|$)")
OF_A_PERSON = re.compile(r"[\w.+-]+@(?!users\.noreply\.|example\.)[\w-]+\.(?:com|net|org|io|dev)\b")
SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bxox[abp]-\w{10,}"
)
FOR_LATER = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b")
BROAD = re.compile(r"^\s*except(?: \w+)?(?: as \w+)?:\s*\n\s*pass\b", re.M)


def tracked() -> list[str]:
    """Files that git knows or would take, without generated code."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(listed, cwd=ROOT, text=True).splitlines()
    return sorted(name for name in set(names) if name != THIS and "_pb2" not in name and (ROOT / name).is_file())


def text(name: str) -> str:
    try:
        return (ROOT / name).read_text()
    except UnicodeDecodeError:
        return ""


@pytest.mark.parametrize(
    ("pattern", "but"),
    [
        (OF_A_MACHINE, ()),
        (OF_A_REGISTRY, ()),
        (OF_A_PERSON, ("LICENSE",)),
        (SECRET, ()),
        (FOR_LATER, ()),
        (BROAD, ()),
    ],
    ids=["machine", "registry", "person", "secret", "later", "swallowed errors"],
)
def test_no_file_holds_what_does_not_belong_in_it(pattern: re.Pattern[str], but: tuple[str, ...]) -> None:
    found = [f"{name}: {match[0]}" for name in tracked() if name not in but for match in pattern.finditer(text(name))]
    assert not found


def test_what_is_built_is_not_committed() -> None:
    committed = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    assert not [name for name in committed if name.endswith((".onnx", ".pyc", ".whl", ".log", ".pid"))]
    assert not [name for name in committed if name.startswith(("models/build/", ".venv/", ".run/"))]


def test_no_file_is_large() -> None:
    assert not [name for name in tracked() if (ROOT / name).stat().st_size > 1_000_000]


def test_lock_files_pin_every_package_by_its_hash() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        blocks = re.split(r"\n(?=\S)", lock.read_text().strip())
        packages = [block for block in blocks if not block.startswith(("#", "-"))]
        assert packages
        assert not [block.splitlines()[0] for block in packages if "--hash=sha256:" not in block]
