"""Where a request's time went, in the server's own words: the stages of `Server-Timing`, over many requests."""

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
class Question:
    """A request that is asked again and again."""

    path: str
    body: bytes
    headers: Mapping[str, str]


def parse(header: str) -> Stages:
    """Milliseconds by stage out of a `Server-Timing` header."""
    parts = (one.strip().split(";dur=") for one in header.split(",") if one.strip())
    return {name: float(duration) for name, duration in parts}


def observed(server: Server, question: Question, seconds: float) -> list[Stages]:
    """The stages of each answer, one request after the other on one connection, for a while."""
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
    question: Question,
    value: Callable[[Stages], float],
    pace: Pace,
    told: Callable[[], None],
) -> Spread:
    """A value made of the stages of the first server, the others awake behind it: its median in each round."""
    medians = []
    for _ in range(pace.rounds):
        with ExitStack() as awake:
            for one in reversed(servers):
                awake.enter_context(one.measured())
            observed(servers[0], question, pace.warm_up_seconds)
            medians.append(median(value(one) for one in observed(servers[0], question, pace.seconds)))
        told()
    return Spread.of(medians)
