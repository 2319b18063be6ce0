"""The warm-up of a model: runs it on probes, measures the time of a run, decides whether requests may share one."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from common.inference.examples import example_inputs
from common.inference.manifest import Manifest, ModelLoadError, one_line
from common.inference.run_time import mixing_reason
from common.inference.session import OnnxSession, Session
from common.protocol.tensors import Array, TensorSpec
from common.protocol.values import as_text


@dataclass(frozen=True, slots=True)
class RunCost:
    """The seconds that a run takes for its first row, and for each further one."""

    first_row: float
    further_row: float

    def of(self, rows: int) -> float:
        return self.first_row + self.further_row * (rows - 1)

    def rows_within(self, seconds: float) -> int:
        """The largest number of rows whose run takes at most `seconds`; 0 when one row takes longer."""
        if self.first_row > seconds:
            return 0
        return 1 + int((seconds - self.first_row) / self.further_row) if self.further_row else sys.maxsize


@dataclass(frozen=True, slots=True)
class WarmUpResult:
    """The cost of a run, the reason why requests must not share one, and why no probe could be run; None if not so."""

    cost: RunCost
    unbatched_reason: str | None
    warning: str | None = None


PROBE_ROWS = 8
_SHUFFLED = (5, 2, 7, 0, 3, 6, 1, 4)  # the order of the rows of a probe: a graph that sorts its rows changes it
UNKNOWN_COST = RunCost(0.1, 0.1)  # of a model that could not be probed, so that no run of it blocks the event loop
# batching is off unless a row in a batch takes at most this share of the time of a single row
_BATCHED_TIME_RATIO = 0.9
_SIZES = (1, 16, 32, 64, 3, 224)  # of free dimensions: most models take one of them
_MAX_ELEMENTS = 1 << 24  # of a probe
MAX_EXAMPLES = 8  # that are run
_VALUES = ((0.0, 1.0), (1.0, 2.0))  # identifiers and divisors may not be 0
Probe = Callable[[int], dict[str, Array]]


def warm_up(session: Session, manifest: Manifest) -> WarmUpResult:
    """Warms a session up, measures the time of a run, and decides whether requests may share one.

    They may not when model.yaml states no tolerance, when the graph may choose rows by values, when a row's outputs
    depend on the other rows by more than that tolerance, or when a batch is hardly faster than single runs. A model
    that takes no probe is served all the same, with a warning. Raises ModelLoadError when it fails on an example of
    its own manifest.
    """
    specs = manifest.input_specs()
    examples = _run_examples(session, manifest)
    made, failure = _probe_that_runs(session, specs)
    if made is None:
        if not examples:
            return WarmUpResult(UNKNOWN_COST, "no probe could be run", failure)
        single = _fastest(lambda: session.run(examples[0]))
        return WarmUpResult(RunCost(single, single), "the probes failed, and examples are too few to compare rows")
    one = examples[0] if examples else made(1)
    single = _fastest(lambda: session.run(one))
    if manifest.batching is None:
        return WarmUpResult(RunCost(single, single), "model.yaml states no batching tolerance")
    if any(_row_count(spec) is None or spec.optional for spec in (*specs, *manifest.output_specs())):
        return WarmUpResult(RunCost(single, single), "the first dimension of an input or output is not free")
    facts = session.facts if isinstance(session, OnnxSession) else None
    if facts is not None and (mixing := mixing_reason(facts)):
        return WarmUpResult(RunCost(single, single), mixing)
    several = {name: array[list(_SHUFFLED)] for name, array in made(PROBE_ROWS).items()}
    return _compare_rows(session, several, single, manifest.batching.tolerance)


def _row_count(spec: TensorSpec) -> int | None:
    """-1 for a tensor that has any number of rows, else None."""
    return -1 if spec.shape[:1] == (-1,) and not spec.any_rank else None


def _compare_rows(session: Session, several: dict[str, Array], single: float, tolerance: float) -> WarmUpResult:
    """Runs rows alone and together."""
    try:
        difference = _difference(session, several, tolerance)
    except Exception as error:  # a graph may declare a free dimension and still contain a fixed one
        return WarmUpResult(
            RunCost(single, single), f"the model fails on a batch of {PROBE_ROWS} rows: {one_line(error, 200)}"
        )
    together = _fastest(lambda: session.run(several))
    cost = RunCost(single, max(together - single, 0.0) / (PROBE_ROWS - 1))
    if difference is not None:
        return WarmUpResult(cost, difference)
    if together / PROBE_ROWS > _BATCHED_TIME_RATIO * single:
        ratio = together / single
        return WarmUpResult(cost, f"{PROBE_ROWS} rows take {ratio:.1f} times as long as one: batching saves no time")
    return WarmUpResult(cost, None)


def _run_examples(session: Session, manifest: Manifest) -> list[dict[str, Array]]:
    """The first examples of the manifest as inputs, once they have run. Raises ModelLoadError for one that fails."""
    examples = [_texts(inputs) for inputs in example_inputs(manifest)[:MAX_EXAMPLES]]
    for index, inputs in enumerate(examples):
        try:
            session.run(inputs)
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes here
            raise ModelLoadError(
                f"model.yaml: the model fails on its example {index}: {one_line(error)}; correct one of the two"
            ) from None
    return examples


def _texts(inputs: dict[str, Array]) -> dict[str, Array]:
    return {name: as_text(array, name) if array.dtype.kind == "O" else array for name, array in inputs.items()}


def _probe_that_runs(session: Session, specs: Sequence[TensorSpec]) -> tuple[Probe | None, str | None]:
    """The first probe that the model takes, or None and the reason why it took none."""
    reason = None
    for made in _probes(specs):
        try:
            session.run(made(1))
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes here
            reason = reason or one_line(error)
            continue
        return made, None
    return None, f"{reason}; give an example in model.yaml (`examples`) that shows which inputs it takes"


def _probes(specs: Sequence[TensorSpec]) -> Iterator[Probe]:
    """Probes of several sizes and values, the most likely first."""
    free = any(-1 in spec.shape[1:] for spec in specs)
    for size in _SIZES if free else _SIZES[:1]:
        if any(math.prod(size if one == -1 else one for one in spec.shape) > _MAX_ELEMENTS for spec in specs):
            continue
        for low, high in _VALUES:
            yield partial(probe, specs, size=size, low=low, high=high)


def probe(
    specs: Sequence[TensorSpec], rows: int, size: int = 1, low: float = 0.0, high: float = 1.0
) -> dict[str, Array]:
    """Test inputs: `rows` rows of different numbers from `low` to `high`. Every other free dimension has `size`."""
    inputs: dict[str, Array] = {}
    for spec in (one for one in specs if not one.optional):
        shape = [size if dimension == -1 else dimension for dimension in spec.shape]
        if spec.shape[:1] == (-1,):
            shape[0] = rows
        numbers = np.linspace(low, high, math.prod(shape)).reshape(shape)
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
        return np.allclose(shared, single, rtol=0, atol=tolerance, equal_nan=True)
    return np.array_equal(shared, single)
