"""The comparisons of `python -m bench rent`: a part of ours, its alternatives, and the load that would show a gain.

When a part is removed from the code, remove its comparison here and its alternative in `bench/alternatives`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.contestants import OURS, over_http, start_role, start_stand_ins, under_load
from bench.measure import Contestant
from bench.parallel import CLASSIFIERS, COMPOSED, check_composed, listed
from bench.parallel import requests as composed_requests
from bench.plan import Plan
from bench.process import Server, ServerGroup
from bench.suite import Bench
from bench.web_single import check_iris, iris_requests


@dataclass(frozen=True)
class Alternative:
    """A role that has something else in place of a part of ours: its name in the table, its module, its variant."""

    name: str
    role: str
    variant: str = ""

    @property
    def settings(self) -> Mapping[str, str]:
        """The environment that selects the variant."""
        return {"ALTERNATIVE": self.variant} if self.variant else {}


@dataclass(frozen=True)
class Load:
    """A kind of request, the role that receives it, and the function that makes contestants."""

    name: str
    role: str
    contestants: Callable[[Bench, ServerGroup, Mapping[str, Alternative | None], int], list[Contestant]]
    shared: bool = False


@dataclass(frozen=True)
class Comparison:
    """A part of ours, the places of its code (as `lines_of` takes them), its alternatives, and the load."""

    key: str
    part: str
    places: Sequence[str]
    alternatives: Sequence[Alternative]
    load: Load
    connections: Sequence[int]

    @property
    def contestants(self) -> Mapping[str, Alternative | None]:
        """All contestants by name; None stands for the pattern as it is."""
        return {OURS: None} | {one.name: one for one in self.alternatives}


def start(group: ServerGroup, load: Load, one: Alternative | None, settings: Mapping[str, str]) -> Server:
    """Start the pattern as it is, or an alternative."""
    return start_role(group, one.role if one else load.role, {**settings, **(one.settings if one else {})})


def iris(
    bench: Bench, group: ServerGroup, roles: Mapping[str, Alternative | None], connections: int
) -> list[Contestant]:
    """One row in JSON to web_single."""
    model = bench.model("iris")
    settings = {"MODEL": model.name, "MODEL_REPOSITORY": str(bench.repository)}
    servers = {name: start(group, IRIS, one, settings) for name, one in roles.items()}
    check_iris(model, servers)
    requests = iris_requests(model)
    return [over_http(name, group, one, requests, connections) for name, one in servers.items()]


def fan_out(
    bench: Bench, group: ServerGroup, roles: Mapping[str, Alternative | None], connections: int
) -> list[Contestant]:
    """One row through parallel's proxy to three stand-ins."""
    models = [bench.model(name) for name in CLASSIFIERS]
    stand_ins = start_stand_ins(group, models)
    proxies = {name: start(group, FAN_OUT, one, listed(stand_ins)) for name, one in roles.items()}
    check_composed(proxies, models[0].file.parent)
    behind = list(stand_ins.values())

    def plan(server: Server) -> Plan:
        return Plan(port=server.port, requests=composed_requests(), connections=connections, seconds=1.0)

    return [under_load(name, group, one, plan(one), stand_ins=behind) for name, one in proxies.items()]


IRIS = Load("one row, JSON", "patterns.web_single.api", iris)
FAN_OUT = Load(f"{COMPOSED.name}, three stand-ins", "patterns.parallel.proxy", fan_out, shared=True)


def replaced(name: str, variant: str) -> Alternative:
    """web_single with one of `ALTERNATIVES` in `bench/alternatives/replaced.py`."""
    return Alternative(name, "bench.alternatives.replaced", variant)


def in_proxy(name: str, variant: str) -> Alternative:
    """parallel's proxy with one of `ALTERNATIVES` in `bench/alternatives/fan_out.py`."""
    return Alternative(name, "bench.alternatives.fan_out", variant)


ROUTES, LOGS = "bench.alternatives.routes", "bench.alternatives.structured_logs"
PROTOCOL = "common/http/protocol.py"
METRICS = ("CounterValue", "HistogramValue", "Counter", "Histogram")
TENSORS = ("from_json", "nested_json", "_values", "_decoder", "_array")
COMPARISONS = (
    Comparison("control", "nothing: ours against ours", (), [Alternative("ours again", IRIS.role)], IRIS, (1, 4, 32)),
    Comparison(
        "direct_route",
        "direct routes",
        (PROTOCOL, "common/http/cycle.py"),
        [
            Alternative("FastAPI route", ROUTES, "fastapi"),
            Alternative("Starlette route", ROUTES, "starlette"),
            Alternative("ASGI messages, no framework", ROUTES, "asgi"),
        ],
        IRIS,
        (1, 4, 32),
    ),
    Comparison(
        "arrivals",
        "requests_starting: the batcher knows which requests are about to begin",
        ("common/service.py:Service.requests_starting",),
        [Alternative("no knowledge", "bench.alternatives.arrivals")],
        IRIS,
        (1, 4, 32),
    ),
    Comparison(
        "client",
        "HTTP/1.1 client",
        ("common/client/http1.py",),
        [in_proxy("aiohttp", "aiohttp")],
        FAN_OUT,
        (1, 16),
    ),
    Comparison(
        "metrics",
        "counters and histograms",
        tuple(f"common/observability/metrics.py:{name}" for name in METRICS),
        [Alternative("prometheus_client, children cached", "bench.alternatives.prometheus")],
        IRIS,
        (1, 32),
    ),
    Comparison(
        "log",
        "log lines",
        ("common/observability/log.py", "common/service.py:AccessLine", "common/service.py:Service._access_line"),
        [
            Alternative("structlog, BytesLogger", LOGS, "bytes_logger"),
            Alternative("structlog, our LineWriter", LOGS, "buffered"),
        ],
        IRIS,
        (1, 32),
    ),
    Comparison(
        "keep_alive",
        "one timer for each connection",
        ("common/http/idle.py", f"{PROTOCOL}:HttpProtocol.on_response_complete"),
        [replaced("uvicorn's timer for each request", "timer-for-each-request")],
        IRIS,
        (1, 32),
    ),
    Comparison(
        "inline",
        "short runs on the event loop",
        ("common/inference/warm_up.py:RunCost", "common/inference/batcher.py:Batcher.slow"),
        [replaced("every run in a thread", "every-run-in-a-thread")],
        IRIS,
        (1, 32),
    ),
    Comparison(
        "collector",
        "garbage collector frozen, threshold raised",
        (),
        [replaced("Python's defaults", "collector-as-python-has-it")],
        IRIS,
        (1, 32),
    ),
    Comparison("loop", "uvloop (a library)", (), [replaced("asyncio's loop", "asyncio-loop")], IRIS, (1, 4, 32)),
    Comparison(
        "writer",
        "LineWriter: lines written together",
        ("common/observability/log.py:LineWriter",),
        [replaced("each line at once", "line-at-once")],
        IRIS,
        (1, 32),
    ),
    Comparison(
        "texts",
        "texts kept: the log's time, Server-Timing's format",
        ("common/observability/log.py:Clock", "common/request/context.py:RequestContext.server_timing"),
        [
            replaced("time formatted for each line", "time-formatted-for-each-line"),
            replaced("Server-Timing joined for each response", "timing-joined-for-each-response"),
        ],
        IRIS,
        (1, 32),
    ),
    Comparison(
        "json",
        "JSON tensors by msgspec, decoded strictly",
        tuple(f"common/protocol/tensors.py:{name}" for name in TENSORS),
        [
            replaced("orjson and numpy, unchecked", "orjson-and-numpy"),
            replaced("numpy checks few numbers too", "numpy-checks-few-numbers"),
        ],
        IRIS,
        (1, 32),
    ),
    Comparison(
        "timeout",
        "client/timeout.py",
        ("common/client/timeout.py",),
        [in_proxy("asyncio.timeout", "asyncio-timeout")],
        FAN_OUT,
        (1, 16),
    ),
    Comparison(
        "client_caches",
        "the client's remembered headers",
        (
            "common/request/context.py:OutgoingHeaders",
            "common/client/rest.py:_header_lines",
            "common/protocol/oip_caller.py",
        ),
        [
            in_proxy("header lines for each call", "header-lines-for-each-call"),
            in_proxy("tensor headers for each call", "tensor-headers-for-each-call"),
        ],
        FAN_OUT,
        (1, 16),
    ),
)
