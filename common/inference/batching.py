"""What a batcher works with: its limits, a request in its queue, the answer, and what a server knows of arrivals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import msgspec

from common.observability.metrics import CounterValue, HistogramValue
from common.protocol.tensors import Array
from common.request.deadline import Deadline


class Arrivals(Protocol):
    """What a server knows of the requests that are not in a queue yet."""

    def alone(self) -> bool:
        """Whether the request being answered is the only one there is."""

    def coming(self) -> int:
        """Requests that have been read and will begin in the next turn of the event loop."""


class UnknownArrivals:
    def alone(self) -> bool:
        return False

    def coming(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """`max_rows` rows share a run; `queue` requests wait; a run is held up to `delay` seconds to fill (0: never)."""

    max_rows: int
    queue: int
    delay: float = 0.0


class RunResult(msgspec.Struct):
    """A request's outputs, in the manifest's order, and where its time went in seconds."""

    outputs: Sequence[Array]
    queued: float
    ran: float


@dataclass(slots=True)
class BatcherMetrics:
    """Where a batcher notes what it did."""

    batch_rows: HistogramValue
    queue_wait: HistogramValue
    run_seconds: HistogramValue
    full: CounterValue
    gone: CounterValue


class QueuedRequest:
    """One request in the queue."""

    __slots__ = ("answer", "arrived", "deadline", "inputs", "rows")

    def __init__(
        self, inputs: dict[str, Array], rows: int, deadline: Deadline, answer: asyncio.Future[RunResult]
    ) -> None:
        self.inputs, self.rows, self.deadline, self.answer = inputs, rows, deadline, answer
        self.arrived = perf_counter()
