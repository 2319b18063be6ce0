"""What a batcher works with: its policy, a request in its queue, a run's result, and its metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import msgspec

from common.observability.metrics import CounterValue, HistogramValue
from common.protocol.tensors import Array
from common.request.deadline import Deadline


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """At most `max_rows` rows share a run, `queue` requests may wait, a run waits up to `delay` seconds for more."""

    max_rows: int
    queue: int
    delay: float = 0.0


class RunResult(msgspec.Struct):
    """A request's outputs, in the manifest's order; the seconds that it waited and that its run took."""

    outputs: Sequence[Array]
    queued: float
    ran: float


@dataclass(slots=True)
class BatcherMetrics:
    """What a batcher counts; `full` are requests refused by a full queue, `gone` those whose client disconnected."""

    batch_rows: HistogramValue
    queue_wait: HistogramValue
    run_seconds: HistogramValue
    full: CounterValue
    gone: CounterValue


class QueuedRequest:
    """One request in the queue; `result` is what its caller waits for."""

    __slots__ = ("arrived", "deadline", "inputs", "result", "rows")

    def __init__(
        self, inputs: dict[str, Array], rows: int, deadline: Deadline, result: asyncio.Future[RunResult]
    ) -> None:
        self.inputs, self.rows, self.deadline, self.result = inputs, rows, deadline, result
        self.arrived = perf_counter()
