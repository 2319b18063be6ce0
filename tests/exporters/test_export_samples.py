"""Reading a user's samples: .npz, .npy and .csv files, and the errors for invalid ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import BuildError
from models.exporters.samples import Samples, read


def test_arrays_are_read_by_name_and_fp64_becomes_fp32(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.ones((3, 2)), b=np.arange(3))
    samples = read(tmp_path / "x.npz")
    assert {name: array.dtype for name, array in samples.arrays.items()} == {"a": np.float32, "b": np.int64}
    assert samples.rows == 3
    assert list(samples.named(["b", "a"])) == ["b", "a"]


def test_a_single_array_belongs_to_the_only_input(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 2), np.uint8))
    samples = read(tmp_path / "x.npy")
    assert samples.named(["picture"])["picture"] is samples.only()
    with pytest.raises(BuildError, match=r"has the inputs \[''\], expected \['a', 'b'\]"):
        samples.named(["a", "b"])


def test_a_csv_file_has_column_names(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("length,width\n1,2.5\n3,4\n")
    samples = read(tmp_path / "x.csv")
    assert samples.columns == ["length", "width"]
    assert samples.only().tolist() == [[1, 2.5], [3, 4]]


def test_a_csv_file_with_text_and_a_byte_order_mark_has_an_array_for_each_column(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("\ufeffsex,fare\nmale,7.5\n\nfémale,\n".encode())
    samples = read(tmp_path / "x.csv")
    assert samples.columns == ["sex", "fare"]
    assert samples.arrays["sex"].tolist() == [["male"], ["fémale"]]
    assert samples.arrays["fare"].dtype == np.float32
    assert np.array_equal(samples.arrays["fare"], [[7.5], [np.nan]], equal_nan=True)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.csv", b"a,b\n1,2\n", "at least two rows"),
        ("x.csv", b"a,b\n", "at least two rows"),
        ("x.csv", b"", "not enough values"),
        ("x.csv", b"a,a\n1,2\n3,4\n", "the header names a column twice"),
        ("x.csv", b"a,b\n1,2\n3\n", "row 3 has 1 values, expected 2, one for each column"),
        ("x.npy", b"\x80\x04K\x05.", "x.npy: "),
        ("x.npz", b"PK", "x.npz: "),
        ("x.txt", b"", "found the suffix '.txt', expected .npz, .npy or .csv"),
    ],
)
def test_an_invalid_file_is_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BuildError) as caught:
        read(tmp_path / name)
    assert reason in str(caught.value)


def test_arrays_of_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(BuildError, match="allow_pickle"):
        read(tmp_path / "x.npy")


def test_arrays_of_different_length_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.ones(3), b=np.ones(4))
    with pytest.raises(BuildError, match=r"found \[3, 4\] rows, expected at least two rows, and the same number"):
        read(tmp_path / "x.npz")
    with pytest.raises(BuildError, match="expected one input"):
        Samples({"a": np.ones(2), "b": np.ones(2)}).only()
