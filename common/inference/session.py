"""ONNX Runtime sessions: a model file is opened, checked against its manifest, warmed up and timed."""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort

from common.inference.manifest import Manifest, ModelLoadError, read_manifest
from common.protocol.tensors import Array, TensorSpec

_DATATYPE = {
    "tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(float16)": "FP16", "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES", "tensor(uint8)": "UINT8", "tensor(uint16)": "UINT16", "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64", "tensor(int8)": "INT8", "tensor(int16)": "INT16", "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
}  # fmt: skip


class Session(Protocol):
    """Runs a model: takes arrays by input name, returns arrays in the manifest's order. Any thread may call it."""

    def run(self, inputs: dict[str, Array]) -> Sequence[Array]: ...


class OnnxSession:
    """ONNX Runtime on the CPU."""

    def __init__(self, path: Path, manifest: Manifest, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # a thread that spins while it waits for work would take processor time from the event loop
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes here
            raise ModelLoadError(f"{path}: ONNX Runtime cannot open it: {' '.join(str(error).split())[:300]}") from None
        self._check("input", self._session.get_inputs(), manifest.input_specs(), path)
        self._check("output", self._session.get_outputs(), manifest.output_specs(), path)
        self._outputs = [spec.name for spec in manifest.output_specs()]

    def run(self, inputs: dict[str, Array]) -> Sequence[Array]:
        outputs: Sequence[Array] = self._session.run(self._outputs, inputs)
        return outputs

    def _check(self, kind: str, found: Sequence[Any], stated: Sequence[TensorSpec], path: Path) -> None:
        actual = {node.name: node for node in found}
        for spec in stated:
            if spec.name not in actual:
                raise ModelLoadError(
                    f"{path}: model.yaml names {kind} {spec.name!r}, but the model has {sorted(actual)}"
                )
            node = actual[spec.name]
            datatype = _DATATYPE.get(node.type, node.type)
            shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
            if datatype != spec.datatype or not _same_shape(shape, spec.shape):
                raise ModelLoadError(
                    f"{path}: {kind} {spec.name!r} is {datatype} {list(shape)}, "
                    f"but model.yaml says {spec.datatype} {list(spec.shape)}"
                )
        unstated = set(actual) - {spec.name for spec in stated}
        if kind == "input" and unstated:
            raise ModelLoadError(f"{path}: the model needs inputs that model.yaml does not name: {sorted(unstated)}")


def _same_shape(actual: tuple[int, ...], stated: tuple[int, ...]) -> bool:
    return len(actual) == len(stated) and all(a in (s, -1) for a, s in zip(actual, stated, strict=True))


def open_model(folder: Path, threads: int) -> tuple[Manifest, OnnxSession]:
    """Opens the model in the folder of a version.

    Raises ModelLoadError when a file is missing or not valid, when the sha256 of model.onnx is not the one in
    model.yaml, or when the inputs and outputs differ from it.
    """
    manifest = read_manifest(folder / "model.yaml")
    path = folder / "model.onnx"
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelLoadError(f"{path}: {error.strerror}; build it with `make models`") from None
    if found != manifest.sha256:
        raise ModelLoadError(
            f"{path}: sha256 is {found[:12]}…, but model.yaml says {manifest.sha256[:12]}…: the file is incomplete "
            "or belongs to another version; copy both files again"
        )
    return manifest, OnnxSession(path, manifest, threads)


@dataclass(frozen=True, slots=True)
class RunCost:
    """The time of a run: `fixed` seconds for the first row and `row` seconds for each further one."""

    fixed: float
    row: float

    def of(self, rows: int) -> float:
        return self.fixed + self.row * (rows - 1)

    def rows_within(self, seconds: float) -> int:
        """The largest number of rows whose run takes at most `seconds`; 0 when one row takes longer."""
        if self.fixed > seconds:
            return 0
        return 1 + int((seconds - self.fixed) / self.row) if self.row else sys.maxsize


@dataclass(frozen=True, slots=True)
class WarmUpResult:
    """The cost of a run, and the reason why requests must not share one; None when they may."""

    cost: RunCost
    unbatched_reason: str | None


PROBE_ROWS = 8
_BATCHED_TIME_RATIO = (
    0.9  # batching is off unless a row in a batch takes at most this share of the time of a single row
)


def warm_up(session: Session, manifest: Manifest) -> WarmUpResult:
    """Warms a session up, measures the time of a run, and decides whether requests may share one.

    They may not when model.yaml states no tolerance, when a row's outputs depend on the other rows by more than that
    tolerance, or when a batch is hardly faster than single runs.
    """
    specs = manifest.input_specs()
    one = probe(specs, 1)
    session.run(one)
    single = _fastest(lambda: session.run(one))
    if manifest.batching is None:
        return WarmUpResult(RunCost(single, single), "model.yaml states no batching tolerance")
    if any(spec.shape[:1] != (-1,) for spec in (*specs, *manifest.output_specs())):
        return WarmUpResult(RunCost(single, single), "the first dimension of an input or output is not free")
    several = probe(specs, PROBE_ROWS)
    try:
        difference = _difference(session, several, manifest.batching.tolerance)
    except Exception as error:  # a graph may declare a free dimension and still contain a fixed one
        return WarmUpResult(
            RunCost(single, single),
            f"the model fails on a batch of {PROBE_ROWS} rows: {' '.join(str(error).split())[:200]}",
        )
    together = _fastest(lambda: session.run(several))
    cost = RunCost(single, max(together - single, 0.0) / (PROBE_ROWS - 1))
    if difference is not None:
        return WarmUpResult(cost, difference)
    if together / PROBE_ROWS > _BATCHED_TIME_RATIO * single:
        ratio = together / single
        return WarmUpResult(cost, f"{PROBE_ROWS} rows take {ratio:.1f} times as long as one: batching saves no time")
    return WarmUpResult(cost, None)


def probe(specs: Sequence[TensorSpec], rows: int) -> dict[str, Array]:
    """Test inputs: `rows` rows of different numbers from 0 to 1. Every other free dimension has size 1."""
    inputs: dict[str, Array] = {}
    for spec in specs:
        shape = [1 if size == -1 else size for size in spec.shape]
        if spec.shape[:1] == (-1,):
            shape[0] = rows
        numbers = np.linspace(0, 1, math.prod(shape)).reshape(shape)
        inputs[spec.name] = (
            numbers.astype(str).astype(object) if spec.datatype == "BYTES" else numbers.astype(spec.dtype)
        )
    return inputs


def _fastest(run: Callable[[], object], seconds: float = 0.05) -> float:
    """The seconds of the fastest of up to 20 runs, which other load on the machine has disturbed least."""
    end = time.perf_counter() + seconds
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        run()
        now = time.perf_counter()
        best = min(best, now - start)
        if now > end:
            break
    return best


def _difference(session: Session, several: dict[str, Array], tolerance: float) -> str | None:
    """How a batch differs from runs of single rows: a sentence, or None when it differs by at most `tolerance`."""
    together = session.run(several)
    for row in range(PROBE_ROWS):
        alone = session.run({name: array[row : row + 1] for name, array in several.items()})
        for shared, single in zip(together, alone, strict=True):
            if shared.shape[:1] != (PROBE_ROWS,):
                return "an output does not have one row for each input row"
            if not _agree(shared[row : row + 1], single, tolerance):
                return f"the outputs of a row differ by more than {tolerance:g} when it shares a run with other rows"
    return None


def _agree(shared: Array, single: Array, tolerance: float) -> bool:
    if single.dtype.kind == "f":
        return np.allclose(shared, single, rtol=0, atol=tolerance)
    return np.array_equal(shared, single)
