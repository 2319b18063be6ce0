"""The data types of the batcher: its policy, a request in its queue, the result of a run, and its metrics."""

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
    """The limits of a batcher.

    One run takes at most `max_rows` rows. At most `queue` requests may wait. A run waits up to `delay` seconds for
    further requests.
    """

    max_rows: int
    queue: int
    delay: float = 0.0


class RunResult(msgspec.Struct):
    """The outputs for one request, in the manifest's order, and the seconds it spent in the queue and in its run."""

    outputs: Sequence[Array]
    queue_seconds: float
    run_seconds: float


@dataclass(slots=True)
class BatcherMetrics:
    """The metrics of a batcher.

    `queue_full` counts the requests that were refused because the queue was full, `cancelled` those that were
    cancelled while they were queued.
    """

    batch_rows: HistogramValue
    queue_wait: HistogramValue
    run_seconds: HistogramValue
    queue_full: CounterValue
    cancelled: CounterValue


class QueuedRequest:
    """One request in the queue. Its caller waits for `result`."""

    __slots__ = ("arrived", "deadline", "inputs", "result", "rows")

    def __init__(
        self, inputs: dict[str, Array], rows: int, deadline: Deadline, result: asyncio.Future[RunResult]
    ) -> None:
        self.inputs, self.rows, self.deadline, self.result = inputs, rows, deadline, result
        self.arrived = perf_counter()
