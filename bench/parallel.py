"""Measurements of parallel: fan-out against other proxies, a frozen predictor, who fetches the features."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from bench import messages
from bench.contestants import (
    OURS,
    check_http,
    start_app,
    start_role,
    start_stand_ins,
    start_store,
    under_load,
)
from bench.measure import Contestant, Spread, difference, failures, p50_ms, p99_ms, spread
from bench.messages import JSON, Model, http_request, post
from bench.plan import LOCAL, Plan
from bench.process import BenchError, Server, ServerGroup
from bench.report import Number, Part, Setting
from bench.rivals.stand_in import constants, read_manifest
from bench.suite import Bench, PartRunner, Parts, at_connections, times

HTTPX, AIOHTTP, STAND_IN = "FastAPI, httpx, gather", "bare ASGI, aiohttp, gather", "one stand-in, asked directly"
RIVALS = {
    HTTPX: "bench.rivals.fastapi_httpx_gather:create_app",
    AIOHTTP: "bench.rivals.aiohttp_gather:create_app",
}
TARGETS = {HTTPX: 8.0, AIOHTTP: 1.3}
CLASSIFIERS, REGRESSOR = ("iris", "iris_rf", "iris_mlp"), "petal_width"
FETCHERS = {"ours, the proxy fetches": "proxy", "ours, each predictor fetches": "predictors"}
COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
COMPOSED = Model("parallel", Path(), "features")
CONNECTIONS = (16, 1)
OWN_MILLISECONDS, FROZEN_MILLISECONDS, MOST_BUSY_PERCENT = 0.8, 130.0, 80.0
PREDICTOR_SECONDS = "0.1"
ROWS = 32
ITEMS = [str(number) for number in range(1, ROWS + 1)]
ASKED = orjson.dumps({"instances": [dict(zip(COLUMNS, (5.1, 3.5, 1.4, 0.2), strict=True))], "aggregate": "all"})
KNOWN_SECONDS = 5.0


def listed(servers: Mapping[str, Server]) -> dict[str, str]:
    """The setting PREDICTORS for these servers, by model name."""
    return {"PREDICTORS": ",".join(f"{name}=http://{LOCAL}:{one.port}" for name, one in servers.items())}


def requests() -> list[bytes]:
    """Requests with one row in JSON for the composed model, as whole HTTP messages."""
    bodies = [messages.json_body(COMPOSED, row) for row in messages.iris_rows(ROWS)]
    return [http_request(COMPOSED.infer_path, body, headers) for body, headers in bodies]


def check_composed(servers: Mapping[str, Server], stand_in: Path) -> None:
    """Check that every proxy returns what the three stand-ins, which agree, return. Raises BenchError."""
    expected, question = constants(read_manifest(stand_in)), messages.json_body(COMPOSED, messages.iris_rows(1)[0])
    for server in servers.values():
        check_http(server, COMPOSED.infer_path, question, expected)


def fan_out_part(bench: Bench) -> Part:
    """One row to three predictors: our proxy, two hand-written proxies, and one stand-in called directly."""
    models = [bench.model(name) for name in CLASSIFIERS]
    with bench.server_group() as group:
        stand_ins = start_stand_ins(group, models)
        proxies = {OURS: start_role(group, "patterns.parallel.proxy", listed(stand_ins))}
        proxies |= {name: start_app(group, name, factory, listed(stand_ins)) for name, factory in RIVALS.items()}
        check_composed(proxies, models[0].file.parent)
        many, lone = (fan_out(bench, group, proxies, stand_ins, connections) for connections in CONNECTIONS)
    return Part(
        "fan_out", "One row, three predictors", [*rival_numbers(many), *lone_numbers(lone)], apart([many, lone])
    )


def fan_out(
    bench: Bench, group: ServerGroup, proxies: Mapping[str, Server], stand_ins: Mapping[str, Server], connections: int
) -> Setting:
    """Compare the proxies, with the stand-ins running beside them, and one stand-in alone."""

    def plan(server: Server) -> Plan:
        return Plan(port=server.port, requests=requests(), connections=connections, seconds=1.0)

    beside, first = list(stand_ins.values()), next(iter(stand_ins.values()))
    contestants = [under_load(name, group, one, plan(one), stand_ins=beside) for name, one in proxies.items()]
    return bench.compare(connections, [*contestants, under_load(STAND_IN, group, first, plan(first))], shared=True)


def apart(settings: Sequence[Setting]) -> list[Setting]:
    """The stand-in in a comparison of its own: it is so much faster that it would dwarf the others in the plot."""
    return [one.only(*names) for one in settings for names in ([OURS, *RIVALS], [STAND_IN])]


def rival_numbers(setting: Setting) -> list[Number]:
    """Throughput against each rival, and how busy the core of load and stand-ins was."""
    at = at_connections(setting.connections)
    busy = Spread.of([one[OURS].busy * 100 for one in setting.rounds])
    return [
        *(times(f"{at}: throughput against {name}", setting, OURS, name, target) for name, target in TARGETS.items()),
        Number(f"{at}: use of the core of load and stand-ins", busy, MOST_BUSY_PERCENT, False, " %"),
    ]


def lone_numbers(setting: Setting) -> list[Number]:
    """What our proxy adds to the latency of one stand-in, while it calls two more."""
    own = difference(setting.rounds, OURS, STAND_IN, p50_ms)
    text = f"{at_connections(setting.connections)}: the proxy's own share of the median latency"
    return [Number(text, own, OWN_MILLISECONDS, False, " ms", failures(setting.rounds, OURS, STAND_IN))]


def frozen_part(bench: Bench) -> Part:
    """One of three stand-ins stopped by SIGSTOP: clients get the outputs of the two others, complete and in time."""
    models = [bench.model(name) for name in CLASSIFIERS]
    with bench.server_group() as group:
        stand_ins = start_stand_ins(group, models)
        limits = {"STRATEGY": "partial", "PREDICTOR_TIMEOUT_SECONDS": PREDICTOR_SECONDS}
        proxy = start_role(group, "patterns.parallel.proxy", listed(stand_ins) | limits)
        awaited(proxy, missing=())
        frozen = stand_ins.pop(CLASSIFIERS[-1])
        frozen.suspend()
        said = awaited(proxy, missing=(CLASSIFIERS[-1],))
        for model in models[:-1]:
            check_said(said["answers"][model.name], model)
        plan = Plan(
            port=proxy.port, requests=[question()], connections=CONNECTIONS[0], seconds=1.0, contains=parts(said)
        )
        contestant = under_load("ours, one of three frozen", group, proxy, plan, stand_ins=list(stand_ins.values()))
        setting = bench.compare(CONNECTIONS[0], [contestant], shared=True)
    text = f"one predictor frozen, {PREDICTOR_SECONDS} s for each, {at_connections(CONNECTIONS[0])}: p99"
    value, failed = spread(setting.rounds, contestant.name, p99_ms), failures(setting.rounds, contestant.name)
    return Part(
        "frozen",
        "One of three predictors frozen",
        [Number(text, value, FROZEN_MILLISECONDS, False, " ms", failed)],
        [setting],
    )


def question() -> bytes:
    """A request with one row to POST /predict that asks for the outputs of all predictors."""
    return http_request("/predict", ASKED, {"Content-Type": JSON})


def awaited(proxy: Server, missing: Sequence[str]) -> dict[str, Any]:
    """The proxy's response as soon as exactly these predictors are missing from it. BenchError after KNOWN_SECONDS."""
    deadline = time.perf_counter() + KNOWN_SECONDS
    while time.perf_counter() < deadline:
        said: dict[str, Any] = orjson.loads(post(proxy.port, "/predict", ASKED, {"Content-Type": JSON}))
        if list(said["missing"]) == list(missing):
            return said
        time.sleep(0.05)
    raise BenchError(f"the proxy reports {said['missing']} as missing, expected {missing}")


def check_said(rows: list[dict[str, Any]], model: Model) -> None:
    """Raise BenchError unless a predictor's part of the response is what its stand-in returns."""
    expected = constants(read_manifest(model.file.parent))["probabilities"].ravel()
    if not np.allclose(list(rows[0]["probabilities"].values()), expected):
        raise BenchError(f"the response has {rows} for {model.name}; its predictor returned {expected}")


def parts(said: Mapping[str, Any]) -> list[bytes]:
    """Texts that every later response must contain: the other predictors' outputs, and which one is missing."""
    return [orjson.dumps(said["answers"]), *(b'"%b":' % name.encode() for name in said["missing"])]


def features_part(bench: Bench) -> Part:
    """Items by id: the features are fetched once by the proxy, or by each of four predictors.

    All services and the store share one core, so throughput shows the total cost.
    """
    repository = {"MODEL_REPOSITORY": str(bench.repository)}
    with bench.server_group() as group:
        store = start_store(group)
        fetching = {"REDIS_URL": f"redis://{LOCAL}:{store.port}"}
        behind = {
            name: start_role(
                group, "patterns.parallel.predictor", repository | fetching | {"MODEL": bench.model(name).name}
            )
            for name in (*CLASSIFIERS, REGRESSOR)
        }
        proxies = {
            name: start_role(group, "patterns.parallel.proxy", listed(behind) | fetching | {"FETCH": who})
            for name, who in FETCHERS.items()
        }
        check_alike(proxies)
        for server in (*proxies.values(), *behind.values(), store):
            server.suspend()
        settings = [
            bench.compare(connections, fetchers(group, proxies, [*behind.values(), store], connections))
            for connections in CONNECTIONS
        ]
    return Part("features", "One item, four predictors: who fetches its features", [], settings)


def fetchers(
    group: ServerGroup, proxies: Mapping[str, Server], behind: Sequence[Server], connections: int
) -> list[Contestant]:
    """Both variants under the same load."""
    items = [http_request("/predict", orjson.dumps({"items": [name]}), {"Content-Type": JSON}) for name in ITEMS]
    return [
        under_load(name, group, one, Plan(port=one.port, requests=items, connections=connections, seconds=1.0), behind)
        for name, one in proxies.items()
    ]


def check_alike(proxies: Mapping[str, Server]) -> None:
    """Raise BenchError unless all proxies predict the same for all items."""
    asked, found = orjson.dumps({"items": ITEMS}), []
    for server in proxies.values():
        found.append(orjson.loads(post(server.port, "/predict", asked, {"Content-Type": JSON}))["predictions"])
    if any(one != found[0] for one in found):
        raise BenchError(
            f"the predictions must not depend on which service fetches the features, but they differ: {found}"
        )


PARTS: Parts = {
    "fan_out": PartRunner(fan_out_part, lambda pace: len(CONNECTIONS) * 4 * pace.rounds),
    "frozen": PartRunner(frozen_part, lambda pace: pace.rounds),
    "features": PartRunner(features_part, lambda pace: len(CONNECTIONS) * 2 * pace.rounds),
}
