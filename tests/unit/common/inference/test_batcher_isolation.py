"""Whoever shares a run gets exactly its own rows' answer, whatever the others are and whenever they leave."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import DeadlineExceeded, ModelFailed
from common.inference.batcher import Batcher
from common.inference.batching import BatchPolicy, RunResult
from common.inference.warm_up import RunCost
from common.protocol.tensors import Array
from common.request.deadline import Deadline
from tests.unit.common.inference.fake_sessions import (
    IN_THREAD,
    INLINE,
    INLINE_WHILE_SMALL,
    POISON,
    SumSession,
    batcher,
    rows,
)

KINDS = ["good", "good", "good", "poisonous", "leaves", "too late"]


@dataclass
class Caller:
    """Someone who asks for a few rows, each of which has a number of its own."""

    kind: str
    values: list[float]
    width: int

    def submit(self, batcher: Batcher) -> asyncio.Future[RunResult]:
        values = [POISON, *self.values] if self.kind == "poisonous" else self.values
        deadline = Deadline.after(-1 if self.kind == "too late" else 30)
        answer = batcher.submit(rows(*values, width=self.width), len(values), deadline)
        if self.kind == "leaves":
            answer.cancel()
        return answer

    async def check(self, answer: asyncio.Future[RunResult]) -> None:
        if self.kind == "leaves":
            assert answer.cancelled()
        elif self.kind == "too late":
            with pytest.raises(DeadlineExceeded):
                await answer
        elif self.kind == "poisonous":
            with pytest.raises(ModelFailed, match="model failed on this input: a poisonous row spoils the run"):
                await answer
        else:
            (sums,) = (await answer).outputs
            assert sums.tolist() == [value * self.width for value in self.values]


@st.composite
def crowds(draw: st.DrawFn) -> list[list[Caller]]:
    """Callers that come in one turn of the loop, turn after turn."""
    number = count(1000)

    def caller() -> Caller:
        size = draw(st.integers(1, 4))
        return Caller(draw(st.sampled_from(KINDS)), [float(next(number)) for _ in range(size)], draw(st.integers(1, 2)))

    return [[caller() for _ in range(draw(st.integers(1, 6)))] for _ in range(draw(st.integers(1, 4)))]


async def serve(crowd: list[list[Caller]], cost: RunCost, limits: BatchPolicy) -> SumSession:
    session = SumSession()
    shared = batcher(session, cost, limits)
    asked = []
    for turn in crowd:
        asked += [(caller, caller.submit(shared)) for caller in turn]
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        for caller, answer in asked:
            await caller.check(answer)
        await shared.close()
    return session


@settings(max_examples=6 * settings().max_examples)
@given(
    crowds(), st.sampled_from([INLINE, IN_THREAD, INLINE_WHILE_SMALL]), st.integers(1, 8), st.sampled_from([0, 0.0005])
)
def test_no_request_changes_another_ones_response(
    crowd: list[list[Caller]], cost: RunCost, most: int, delay: float
) -> None:
    session = asyncio.run(serve(crowd, cost, BatchPolicy(most, 1000, delay)))
    computed = {value for run in session.runs for value in run[:, 0].tolist()}
    callers = [caller for turn in crowd for caller in turn]
    largest = max(len(caller.values) + 1 for caller in callers)
    for caller in callers:
        wanted = caller.kind in ("good", "poisonous")
        assert computed.issuperset(caller.values) if wanted else computed.isdisjoint(caller.values)
    assert max((len(run) for run in session.runs), default=0) <= max(most, largest)


async def test_a_request_without_rows_does_not_make_an_unshared_run_shared() -> None:
    session = SumSession()
    alone = batcher(session, INLINE, BatchPolicy(max_rows=1, queue=10))
    answers = [alone.submit(rows(*values), len(values), Deadline.after(30)) for values in ([1.0], [], [2.0])]
    await asyncio.gather(*answers)
    assert [len(run) for run in session.runs] == [1, 0, 1]


class PositiveSession(SumSession):
    """The sums that are positive: it may give fewer rows than it takes."""

    def run(self, inputs: dict[str, Array]) -> Sequence[Array]:
        (sums,) = super().run(inputs)
        return [sums[sums > 0]]


async def test_a_run_that_does_not_give_a_row_for_each_row_is_shared_by_nobody() -> None:
    shared = batcher(PositiveSession(), INLINE)
    asked = [[-1.0, -2.0], [3.0, 4.0], [-5.0], [6.0]]
    answers = [shared.submit(rows(*values), len(values), Deadline.after(30)) for values in asked]
    found = [(await answer).outputs[0].tolist() for answer in answers]
    assert found == [[], [6.0, 8.0], [], [12.0]]
    await shared.close()
