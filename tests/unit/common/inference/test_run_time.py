"""Only a model whose run time is bounded by the shapes of its inputs runs on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from common.inference.batcher import MAX_OVERRUNS, OVERRUN_SECONDS
from common.inference.graph_facts import read_facts
from common.inference.run_time import unbounded_reason
from common.protocol.tensors import Array, TensorSpec
from common.request.deadline import Deadline
from tests.models.case import Case
from tests.models.graphs import run_times
from tests.models.outputs import classifiers
from tests.models.refused import external
from tests.unit.common.inference.fake_sessions import INLINE, batcher, rows
from tests.unit.common.inference.temporary_repository import TemporaryRepository

DEPENDS = [case for case in run_times() if case.name != "filled"]


@pytest.mark.parametrize("case", DEPENDS, ids=lambda case: case.name)
async def test_a_model_whose_run_time_depends_on_values_runs_in_the_thread(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path)
    repository = TemporaryRepository(tmp_path)
    await repository.models.load(case.name)
    assert repository.models.get(case.name).batcher.slow(1)


async def test_the_event_loop_goes_on_during_a_long_loop(tmp_path: Path) -> None:
    (case,) = [case for case in run_times() if case.name == "loop"]
    case.write(tmp_path)
    repository = TemporaryRepository(tmp_path)
    await repository.models.load("loop")
    model = repository.models.get("loop")
    count = {"x": np.array([100_000], np.int64)}
    answer = model.batcher.submit(count, 1, Deadline.after(30))
    turns = 0
    while not answer.done():
        turns += 1
        await asyncio.sleep(0.001)
    assert (await answer).outputs[0].tolist() == [sum(range(100_000))]
    assert turns > 3


def test_a_usual_classifier_may_run_on_the_event_loop(tmp_path: Path) -> None:
    for case in classifiers():
        facts = read_facts(case.write(tmp_path) / "model.onnx")
        assert unbounded_reason(facts, [TensorSpec("x", "FP32", (-1, 2))]) is None, case.name


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (TensorSpec("x", "BYTES", (-1, 2)), "input 'x' is text of any length"),
        (TensorSpec("x", "FP32", (-1, -1)), "input 'x' has free dimensions beside its rows"),
    ],
)
def test_sizes_without_a_bound_keep_a_model_off_the_event_loop(tmp_path: Path, spec: TensorSpec, reason: str) -> None:
    facts = read_facts(classifiers()[0].write(tmp_path) / "model.onnx")
    assert unbounded_reason(facts, [spec]) == reason


def test_the_files_with_further_weights_are_found(tmp_path: Path) -> None:
    assert read_facts(external("beside").write(tmp_path) / "model.onnx").external == {"model.onnx.data"}


@pytest.mark.parametrize("content", [b"\x3a", b"\x3a\xff\x01", b"\x0b", b"\xff" * 12])
def test_a_file_that_is_no_protobuf_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"ends within|wire type|more than ten bytes"):
        read_facts(tmp_path / "model.onnx")


class LateSession:
    """Takes longer than its estimate."""

    def run(self, inputs: dict[str, Array]) -> Sequence[Array]:
        time.sleep(1.5 * OVERRUN_SECONDS)
        return [inputs["x"]]


async def test_runs_that_outlast_their_estimate_move_a_model_to_the_thread_for_good() -> None:
    late = batcher(LateSession(), INLINE)
    for _ in range(MAX_OVERRUNS):
        assert not late.slow(1)
        await late.submit(rows(1.0), 1, Deadline.after(30))
    assert late.slow(1)
    await late.submit(rows(1.0), 1, Deadline.after(30))
    assert late.slow(1)
    await late.close()
