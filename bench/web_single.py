"""The numbers of web_single: against rivals, against the model alone, with batching and without; start and memory.

Each part starts what it needs, lets it take turns and stops it; `python -m bench web_single --only NAME` runs one.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace

from bench import messages
from bench.contestants import (
    ALONE,
    BARE,
    FASTAPI,
    OURS,
    alone,
    check_grpc,
    check_http,
    over_grpc,
    over_http,
    start_rival,
)
from bench.measure import Spread
from bench.messages import Model
from bench.plan import Plan
from bench.process import Bay, Server, free_port
from bench.report import Number, Part, Setting
from bench.rivals.ort_alone import expected_outputs
from bench.suite import Bench, Chapter, Parts, at_connections, no_slower, times

RIVAL_TARGETS = {32: {BARE: 1.35, FASTAPI: 2.5}, 1: {BARE: 0.85, FASTAPI: 1.2}}
ALONE_TARGETS = {"ours, HTTP": 0.9, "ours, gRPC": 0.85}
BATCHING_TARGETS = {64: 2.0, 1: 0.92}
UNBATCHED, CONSTANT = "ours, batching off", "constant answer"
IMAGE_CONNECTIONS, SERVED_CONNECTIONS = 4, 32
ROWS, IMAGES = 32, 4
READY_SECONDS, MEMORY_MEGABYTES = 1.5, 120.0
SERVED_ANSWERS, SERVED_SECONDS = 5000, 30.0


def iris_requests(model: Model) -> list[bytes]:
    """Single rows in JSON, whole HTTP messages."""
    bodies = [messages.json_body(model, row) for row in messages.iris_rows(ROWS)]
    return [messages.http_request(model.infer_path, body, headers) for body, headers in bodies]


def check_iris(model: Model, servers: Mapping[str, Server]) -> None:
    """All of the servers answer a row as the model does."""
    row = messages.iris_rows(1)[0]
    expected = expected_outputs(str(model.file), row)
    for server in servers.values():
        check_http(server, model.infer_path, messages.json_body(model, row), expected)


def compare_on_iris(bench: Bench, bay: Bay, model: Model, servers: Mapping[str, Server], connections: int) -> Setting:
    """Turns of single rows in JSON."""
    requests = iris_requests(model)
    return bench.compare(
        connections, [over_http(name, bay, one, requests, connections) for name, one in servers.items()]
    )


def rival_numbers(setting: Setting) -> list[Number]:
    """Throughput and p99 against each rival."""
    at = at_connections(setting.connections)
    targets = RIVAL_TARGETS[setting.connections]
    return [
        times(f"JSON, {at}: throughput against {name}", setting, OURS, name, target) for name, target in targets.items()
    ] + [no_slower(f"JSON, {at}: p99 against {name}", setting, OURS, name) for name in targets]


def json_part(bench: Bench) -> Part:
    """One iris row in JSON: ours against the bare application and the FastAPI one."""
    model = bench.model("iris")
    with bench.bay() as bay:
        servers = {OURS: bench.start(bay, model)} | {name: start_rival(bay, name, model) for name in (BARE, FASTAPI)}
        check_iris(model, servers)
        settings = [compare_on_iris(bench, bay, model, servers, connections) for connections in RIVAL_TARGETS]
    return Part("json", "One iris row, JSON", [number for one in settings for number in rival_numbers(one)], settings)


def binary_part(bench: Bench) -> Part:
    """A 1x3x224x224 tensor to lite0 int8, over HTTP (binary extension) and gRPC: ours against ONNX Runtime alone."""
    model, tensors = bench.model("imagenet_lite0_int8"), messages.image_tensors(IMAGES)
    bodies = [messages.binary_body(model, tensor) for tensor in tensors]
    https = [messages.http_request(model.infer_path, body, headers) for body, headers in bodies]
    grpcs = [messages.grpc_request(model, tensor) for tensor in tensors]
    with bench.bay() as bay:
        server, expected = bench.start(bay, model), expected_outputs(str(model.file), tensors[0])
        check_http(server, model.infer_path, bodies[0], expected)
        check_grpc(server, grpcs[0], expected)
        http, grpc = ALONE_TARGETS
        contestants = [
            over_http(http, bay, server, https, IMAGE_CONNECTIONS),
            over_grpc(grpc, bay, server, grpcs, IMAGE_CONNECTIONS),
            alone(bay, model, tensors[0]),
        ]
        setting = bench.compare(IMAGE_CONNECTIONS, contestants)
    numbers = [
        times(
            f"lite0 int8, {IMAGE_CONNECTIONS} connections: {name.removeprefix('ours, ')} against {ALONE}",
            setting,
            name,
            ALONE,
            target,
        )
        for name, target in ALONE_TARGETS.items()
    ]
    return Part("binary", "A 600 kB tensor to lite0 int8", numbers, [setting])


def batching_part(bench: Bench) -> Part:
    """Single rows to the random forest: our server as it is against itself with batching off."""
    model = bench.model("iris_rf")
    with bench.bay() as bay:
        servers = {OURS: bench.start(bay, model), UNBATCHED: bench.start(bay, model, {"BATCH_MAX_ROWS": "1"})}
        check_iris(model, servers)
        settings = [compare_on_iris(bench, bay, model, servers, connections) for connections in BATCHING_TARGETS]
    numbers = [
        times(
            f"iris_rf, {one.connections} at once: batching on against off",
            one,
            OURS,
            UNBATCHED,
            BATCHING_TARGETS[one.connections],
        )
        for one in settings
    ]
    return Part("batching", "One row to iris_rf, batching on and off", numbers, settings)


def start_part(bench: Bench) -> Part:
    """Seconds from start to ready (the first start only warms the disk cache); memory after some thousand answers."""
    model = bench.model("iris")
    starts: list[float] = []
    for _ in range(bench.pace.starts + 1):
        with bench.bay() as bay:
            starts.append(bench.start(bay, model).ready_seconds)
        bench.told()
    with bench.bay() as bay:
        server = bench.start(bay, model)
        plan = Plan(
            port=server.port,
            requests=iris_requests(model),
            connections=SERVED_CONNECTIONS,
            seconds=SERVED_SECONDS,
            count=SERVED_ANSWERS,
        )
        failed = bay.load(plan).failures
        memory = server.memory_bytes() / 1e6
    numbers = [
        Number("iris, one core: process start to ready", Spread.of(starts[1:]), READY_SECONDS, False, " s"),
        Number(
            f"iris: memory after {SERVED_ANSWERS} answers", Spread.of([memory]), MEMORY_MEGABYTES, False, " MB", failed
        ),
    ]
    return Part("start", "Start and memory", numbers)


def generator_part(bench: Bench) -> Part:
    """What the load generator itself can drive: a server that only ever sends the same bytes."""
    model, port, once = bench.model("iris"), free_port(), replace(bench, pace=replace(bench.pace, rounds=1))
    with bench.bay() as bay:
        server = bay.start("constant", [sys.executable, "-m", "bench.rivals.constant", str(port)], {}, port)
        settings = [compare_on_iris(once, bay, model, {CONSTANT: server}, connections) for connections in RIVAL_TARGETS]
    return Part("generator", "The load generator by itself", [], settings)


PARTS: Parts = {
    "json": Chapter(json_part, lambda pace: 6 * pace.rounds),
    "binary": Chapter(binary_part, lambda pace: 3 * pace.rounds),
    "batching": Chapter(batching_part, lambda pace: 4 * pace.rounds),
    "start": Chapter(start_part, lambda pace: 1 + pace.starts),
    "generator": Chapter(generator_part, lambda _: len(RIVAL_TARGETS)),
}
