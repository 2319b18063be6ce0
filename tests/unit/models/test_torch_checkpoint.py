"""The reader of PyTorch checkpoints reads weights and refuses everything else."""

import io
import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import torch_checkpoint

ELEMENTS = np.arange(6, dtype="<f4")


class _Global:
    """A reference to a global that this process does not have."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _Tensor:
    def __init__(self, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.arguments: tuple[object, ...] = (_Stored(), offset, shape, strides, False, OrderedDict())


class _Stored:
    """The only storage of the file: key "0", six floats."""


class _Writer(pickle._Pickler):
    """Writes the format without PyTorch. In Python, so that it can name globals that cannot be imported."""

    def persistent_id(self, value: object) -> Any:
        if not isinstance(value, _Stored):
            return None
        return "storage", _Global("torch", "FloatStorage"), "0", "cpu", len(ELEMENTS), None

    def save(self, value: object, save_persistent_id: bool = True) -> Any:
        if isinstance(value, _Global):
            return self.write(f"c{value.module}\n{value.name}\n".encode())  # type: ignore[attr-defined]
        if isinstance(value, _Tensor):
            self.save(_Global("torch._utils", "_rebuild_tensor_v2"))
            self.save(value.arguments)
            return self.write(pickle.REDUCE)  # type: ignore[attr-defined]
        return super().save(value, save_persistent_id)  # type: ignore[misc]


def _checkpoint(tensors: object, elements: bytes = struct.pack("<q", 6) + ELEMENTS.tobytes()) -> bytes:
    stream = io.BytesIO()
    header = (torch_checkpoint.MAGIC, torch_checkpoint.FORMAT_VERSION, {"little_endian": True})
    for value in (*header, tensors, ["0"]):
        _Writer(stream, protocol=2).dump(value)
    return stream.getvalue() + elements


def test_weights_are_read_in_their_shape_and_strides() -> None:
    weights = torch_checkpoint.read(_checkpoint(OrderedDict(w=_Tensor(0, (3, 2), (1, 3)), tail=_Tensor(4, (2,), (1,)))))
    assert weights["w"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert weights["tail"].tolist() == [4, 5]


@pytest.mark.parametrize("tensor", [_Tensor(0, (7,), (1,)), _Tensor(5, (2,), (1,)), _Tensor(0, (2,), (-1,))])
def test_a_tensor_that_reads_outside_its_storage_is_refused(tensor: _Tensor) -> None:
    with pytest.raises(ValueError, match="reads outside of storage 0"):
        torch_checkpoint.read(_checkpoint(OrderedDict(w=tensor)))


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("builtins", "eval"), ("torch", "load"), ("collections", "Counter"), ("torch._utils", "x")],
)
def test_any_other_global_is_refused(module: str, name: str) -> None:
    with pytest.raises(pickle.UnpicklingError, match=f"refers to {module}.{name}, which is not allowed"):
        torch_checkpoint.read(_checkpoint({"w": _Global(module, name)}))


def test_a_pickle_that_would_run_a_command_runs_nothing(tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    with pytest.raises(pickle.UnpicklingError):
        torch_checkpoint.read(pickle.dumps(Command()))
    assert not (tmp_path / "ran").exists()


def test_a_truncated_file_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 6 elements of 4 bytes"):
        torch_checkpoint.read(_checkpoint(OrderedDict(w=_Tensor(0, (6,), (1,))))[:-1])


def test_another_pickle_is_refused() -> None:
    with pytest.raises(ValueError, match="not a PyTorch checkpoint"):
        torch_checkpoint.read(pickle.dumps(1))
