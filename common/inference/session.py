"""A model file opened with ONNX Runtime: threads stated, checked against its manifest, warmed and timed."""

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
    """What runs a model: arrays by input name in, arrays in the manifest's output order out; called from any thread."""

    def run(self, inputs: dict[str, Array]) -> Sequence[Array]: ...


class OnnxSession:
    """ONNX Runtime on the CPU."""

    def __init__(self, path: Path, manifest: Manifest, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A thread that spins for work takes its core from the event loop beside it.
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
                raise ModelLoadError(f"{path}: has no {kind} {spec.name!r} as model.yaml says, only {sorted(actual)}")
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
            raise ModelLoadError(f"{path}: needs an input {sorted(unstated)} that model.yaml does not name")


def _same_shape(actual: tuple[int, ...], stated: tuple[int, ...]) -> bool:
    return len(actual) == len(stated) and all(a in (s, -1) for a, s in zip(actual, stated, strict=True))


def open_model(folder: Path, threads: int) -> tuple[Manifest, OnnxSession]:
    """The model in a version's folder, its bytes checked against the manifest's sha256. ModelLoadError in one line."""
    manifest = read_manifest(folder / "model.yaml")
    path = folder / "model.onnx"
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelLoadError(f"{path}: {error.strerror}; build it with `make models`") from None
    if found != manifest.sha256:
        raise ModelLoadError(
            f"{path}: sha256 is {found[:12]}…, but model.yaml says {manifest.sha256[:12]}…: half copied, or changed?"
        )
    return manifest, OnnxSession(path, manifest, threads)


@dataclass(frozen=True, slots=True)
class RunCost:
    """What a run takes: `fixed` seconds and `row` seconds for each row beyond the first."""

    fixed: float
    row: float

    def of(self, rows: int) -> float:
        return self.fixed + self.row * (rows - 1)

    def rows_within(self, seconds: float) -> int:
        """The most rows that a run of so many seconds can take; 0 where not even one fits."""
        if self.fixed > seconds:
            return 0
        return 1 + int((seconds - self.fixed) / self.row) if self.row else sys.maxsize


@dataclass(frozen=True, slots=True)
class WarmUpResult:
    """What warming a session showed: its cost, and why rows of several callers may not share a run, if they may not."""

    cost: RunCost
    alone: str | None


PROBE_ROWS = 8
_WORTH = 0.9  # sharing a run must save at least a tenth of a row's time


def warm_up(session: Session, manifest: Manifest) -> WarmUpResult:
    """Runs a session until it is warm, times it, and finds out whether rows may and should share a run."""
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
        apart = _difference(session, several, manifest.batching.tolerance)
    except Exception as error:  # a graph may state a free dimension and still hold a fixed one within
        return WarmUpResult(
            RunCost(single, single), f"it fails on {PROBE_ROWS} rows: {' '.join(str(error).split())[:200]}"
        )
    together = _fastest(lambda: session.run(several))
    cost = RunCost(single, max(together - single, 0.0) / (PROBE_ROWS - 1))
    if apart is not None:
        return WarmUpResult(cost, apart)
    if together / PROBE_ROWS > _WORTH * single:
        return WarmUpResult(
            cost, f"{PROBE_ROWS} rows take {together / single:.1f} times as long as one: nothing to share"
        )
    return WarmUpResult(cost, None)


def probe(specs: Sequence[TensorSpec], rows: int) -> dict[str, Array]:
    """Rows of differing numbers from 0 to 1 in the shape of the inputs; further free dimensions are taken as 1."""
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
    """The fastest of up to 20 runs: what the machine can do, whatever else it was doing."""
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
    """Says so when a row's answer depends on its neighbours by more than `tolerance`, or on where it stands."""
    together = session.run(several)
    for row in range(PROBE_ROWS):
        alone = session.run({name: array[row : row + 1] for name, array in several.items()})
        for shared, single in zip(together, alone, strict=True):
            if shared.shape[:1] != (PROBE_ROWS,):
                return "an output does not have one row for each input row"
            if not _agree(shared[row : row + 1], single, tolerance):
                return f"a row's answer differs by more than {tolerance:g} beside others"
    return None


def _agree(shared: Array, single: Array, tolerance: float) -> bool:
    if single.dtype.kind == "f":
        return np.allclose(shared, single, rtol=0, atol=tolerance)
    return np.array_equal(shared, single)
