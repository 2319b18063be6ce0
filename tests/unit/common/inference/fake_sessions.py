"""Sessions that stand in for a model: they sum rows, remember what they were asked, and fail or wait on demand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np

from common.inference.batcher import Batcher
from common.inference.batching import BatcherMetrics, BatchPolicy
from common.inference.session import Session
from common.inference.warm_up import RunCost
from common.observability.metrics import ROWS, SECONDS, CounterValue, HistogramValue
from common.protocol.tensors import Array
from common.request.deadline import Deadline

POISON = 666.0
INLINE = RunCost(0.0, 0.0)
IN_THREAD = RunCost(1.0, 0.0)
INLINE_WHILE_SMALL = RunCost(0.0006, 0.0006)  # one row in the loop, two and more in the thread
ROOMY = BatchPolicy(max_rows=64, queue=1000)


class SumSession:
    """The sum of each row; a row that begins with POISON makes the whole run fail."""

    def __init__(self) -> None:
        self.runs: list[Array] = []

    def run(self, inputs: dict[str, Array]) -> Sequence[Array]:
        rows = inputs["x"]
        self.runs.append(rows)
        if (rows == POISON).any():
            raise RuntimeError("a poisonous row\nspoils the run")
        return [rows.sum(axis=1)]


class HeldSession(SumSession):
    """The same, but a run of `least` rows or more does not end before `release` is set."""

    def __init__(self, least: int = 1) -> None:
        super().__init__()
        self.release, self._least = threading.Event(), least
        self._running = threading.Event()

    def run(self, inputs: dict[str, Array]) -> Sequence[Array]:
        if len(inputs["x"]) >= self._least:
            self._running.set()
            assert self.release.wait(30), "nobody released the run"
        return super().run(inputs)

    async def running(self) -> None:
        """Returns once a run is held."""
        assert await asyncio.to_thread(self._running.wait, 30), "no run began"


def batcher_metrics() -> BatcherMetrics:
    return BatcherMetrics(
        HistogramValue(ROWS), HistogramValue(SECONDS), HistogramValue(SECONDS), CounterValue(), CounterValue()
    )


def batcher(
    session: Session,
    cost: RunCost,
    limits: BatchPolicy = ROOMY,
    noted: BatcherMetrics | None = None,
    requests_starting: Callable[[], int] | None = None,
) -> Batcher:
    return Batcher(session, cost, limits, noted or batcher_metrics(), "test", requests_starting=requests_starting)


def rows(*values: float, width: int = 2) -> dict[str, Array]:
    """One row for each value, filled with it."""
    return {"x": np.repeat(np.array(values, np.float32), width).reshape(len(values), width)}


def ask(batcher: Batcher, *values: float, seconds: float = 30.0, width: int = 2) -> asyncio.Future[list[float]]:
    """What `SumSession` answers for rows of these values, as a list."""
    deadline = Deadline.after(seconds)

    async def answer() -> list[float]:
        outputs = (await batcher.submit(rows(*values, width=width), len(values), deadline)).outputs
        return [float(one) for one in outputs[0]]

    return asyncio.ensure_future(answer())
