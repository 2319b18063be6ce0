"""Input and output of a load generator, and the closed loop that the HTTP and the gRPC generator share.

Closed loop: a connection sends its next request when the previous response has arrived, so there are as many requests
in flight as connections.
"""

import asyncio
import contextlib
import math
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import msgspec

LOCAL = "127.0.0.1"
LONGEST_SECONDS = 120.0
MOST_CONNECTIONS = 1024


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of load. It ends after `seconds`, or after `count` responses if that is earlier (0: by time only).

    `requests` are sent in rotation as they are: whole HTTP messages, or serialized protobufs for `method` over gRPC.
    An HTTP response whose body lacks one of the texts in `contains` is a failure. Raises ValueError for any address
    other than 127.0.0.1.
    """

    port: int
    requests: list[bytes]
    connections: int
    seconds: float
    warm_up_seconds: float = 0.0
    count: int = 0
    answer_timeout_seconds: float = 5.0
    method: str = ""
    contains: list[bytes] = []
    host: str = LOCAL

    def __post_init__(self) -> None:
        if self.host != LOCAL:
            raise ValueError(f"load goes to {LOCAL} alone, not to {self.host}")
        if not self.requests:
            raise ValueError("a plan needs at least one request")
        if not 1 <= self.connections <= MOST_CONNECTIONS:
            raise ValueError(f"connections must be 1 to {MOST_CONNECTIONS}, not {self.connections}")
        if not 0 < self.longest_seconds <= LONGEST_SECONDS:
            raise ValueError(f"a turn may last {LONGEST_SECONDS} s, not {self.longest_seconds}")
        if self.count and self.warm_up_seconds:
            raise ValueError("a counted turn has no warm-up: every answer counts")

    @property
    def longest_seconds(self) -> float:
        """Seconds after which the turn has ended, whatever the server does."""
        return self.warm_up_seconds + self.seconds + self.answer_timeout_seconds


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one turn. Times are in seconds; `answered` and the latencies count good responses only.

    `busy` is the share of its core that the load generator (with the stand-ins beside it) used. Near 1.0, the generator
    was measured and not the server.
    `held_up` is the share of the time in which the generator was ready to run but another process had its core: the
    noise of the machine.
    `server_cpu` is the CPU time for one response, warm-up included, of all server processes that take part in it. Noise
    changes it least.
    """

    answered: int
    seconds: float
    p50: float
    p99: float
    longest: float
    errors: dict[str, int]
    busy: float
    held_up: float
    answered_in_all: int
    server_cpu: float = 0.0

    @property
    def throughput(self) -> float:
        """Good responses per second."""
        return self.answered / self.seconds

    @property
    def failures(self) -> int:
        """Requests without a good response, warm-up included."""
        return sum(self.errors.values())


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of sorted values, which is always a measured value; 0.0 without values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


@dataclass(frozen=True)
class Clock:
    """Three clocks of this process in seconds: wall time, CPU time, and time spent waiting for a core."""

    wall: float
    computing: float
    waiting: float

    @classmethod
    def now(cls) -> "Clock":
        """Read the clocks. Waiting is the main thread's, from /proc/self/schedstat (0 where that is missing)."""
        schedule = Path("/proc/self/schedstat")
        waiting = int(schedule.read_text().split()[1]) / 1e9 if schedule.exists() else 0.0
        return cls(time.perf_counter(), time.process_time(), waiting)


def sum_up(answered: int, began: Clock, ended: Clock, latencies: Sequence[float], errors: Mapping[str, int]) -> Result:
    """The result of a turn with `answered` good responses between the two readings of the clocks.

    `latencies` are those of these responses and of later ones.
    """
    ordered, seconds = sorted(latencies), ended.wall - began.wall
    return Result(
        answered=answered,
        seconds=seconds,
        p50=percentile(ordered, 0.5),
        p99=percentile(ordered, 0.99),
        longest=percentile(ordered, 1.0),
        errors=dict(errors),
        busy=(ended.computing - began.computing) / seconds,
        held_up=(ended.waiting - began.waiting) / seconds,
        answered_in_all=len(latencies),
    )


class Ledger:
    """Hands out the requests of one turn and records the responses."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.requests: Iterator[bytes] = islice(cycle(plan.requests), plan.count or None)
        self.in_flight = 0
        self.latencies = array("d")
        self.errors: Counter[str] = Counter()
        self.finished = asyncio.Event()

    def next_request(self) -> bytes | None:
        """The next request to send; None when the turn has ended."""
        request = next(self.requests, None)
        if request is not None:
            self.in_flight += 1
        elif not self.in_flight:
            self.finished.set()
        return request

    def answered(self, latency: float) -> None:
        """Record a good response, `latency` seconds after its request."""
        self.in_flight -= 1
        self.latencies.append(latency)

    def failed(self, reason: str) -> None:
        """Record a request whose response was bad or did not arrive."""
        self.in_flight -= 1
        self.errors[reason] += 1

    async def measure(self) -> Result:
        """Wait until the turn has ended while connections use this object, and return its result.

        Responses after the end count for latency but not for throughput, so a server that hangs does not look fast.
        """
        if self.plan.warm_up_seconds:
            await self._pass(self.plan.warm_up_seconds)
        warming = len(self.latencies)
        del self.latencies[:]
        began = Clock.now()
        await self._pass(self.plan.seconds)
        ended, answered = Clock.now(), len(self.latencies)
        await self._close()
        result = sum_up(answered, began, ended, self.latencies, self.errors)
        return msgspec.structs.replace(result, answered_in_all=warming + len(self.latencies))

    async def _close(self) -> None:
        self.requests = iter(())
        if self.in_flight:
            await self._pass(self.plan.answer_timeout_seconds)
        if self.in_flight:
            self.errors["unanswered"] += self.in_flight

    async def _pass(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.finished.wait()
