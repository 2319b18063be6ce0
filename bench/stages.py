"""The stages of many requests, as the server reports them in `Server-Timing`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from statistics import median
from time import perf_counter

from bench.measure import Pace, Spread
from bench.plan import LOCAL
from bench.process import BenchError, Server

Stages = dict[str, float]


@dataclass(frozen=True)
class RepeatedRequest:
    """A request that is sent repeatedly."""

    path: str
    body: bytes
    headers: Mapping[str, str]


def parse(header: str) -> Stages:
    """Milliseconds by stage, from a `Server-Timing` header."""
    parts = (one.strip().split(";dur=") for one in header.split(",") if one.strip())
    return {name: float(duration) for name, duration in parts}


def observed(server: Server, question: RepeatedRequest, seconds: float) -> list[Stages]:
    """The stages of each response: requests one after the other on one connection, for so many seconds."""
    connection, end = HTTPConnection(LOCAL, server.port, timeout=30.0), perf_counter() + seconds
    found: list[Stages] = []
    try:
        while perf_counter() < end or not found:
            connection.request("POST", question.path, question.body, dict(question.headers))
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200:
                raise BenchError(f"{question.path} answered {response.status}: {answer[:300]!r}")
            found.append(parse(response.getheader("Server-Timing", "")))
    finally:
        connection.close()
    return found


def over_rounds(
    servers: Sequence[Server],
    question: RepeatedRequest,
    value: Callable[[Stages], float],
    pace: Pace,
    turn_done: Callable[[], None],
) -> Spread:
    """The median, per round, of a value made of the first server's stages; the other servers run behind it."""
    medians = []
    for _ in range(pace.rounds):
        with ExitStack() as awake:
            for one in reversed(servers):
                awake.enter_context(one.measured())
            observed(servers[0], question, pace.warm_up_seconds)
            medians.append(median(value(one) for one in observed(servers[0], question, pace.seconds)))
        turn_done()
    return Spread.of(medians)
