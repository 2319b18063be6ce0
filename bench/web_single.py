"""Measurements of web_single: against rivals, against ONNX Runtime alone, with and without batching; start and memory.

Each part starts its servers, measures them in turns and stops them; `python -m bench web_single --only NAME` runs one.
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
from bench.process import Server, ServerGroup, free_port
from bench.report import Number, Part, Setting
from bench.rivals.ort_alone import expected_outputs
from bench.suite import Bench, PartRunner, Parts, at_connections, no_slower, times

RIVAL_TARGETS = {32: {BARE: 1.35, FASTAPI: 2.5}, 1: {BARE: 0.85, FASTAPI: 1.2}}
ALONE_TARGETS = {"ours, HTTP": 0.9, "ours, gRPC": 0.85}
BATCHING_TARGETS = {64: 2.0, 1: 0.92}
UNBATCHED, CONSTANT = "ours, batching off", "constant answer"
IMAGE_CONNECTIONS, SERVED_CONNECTIONS = 4, 32
ROWS, IMAGES = 32, 4
READY_SECONDS, MEMORY_MEGABYTES = 1.5, 120.0
SERVED_ANSWERS, SERVED_SECONDS = 5000, 30.0


def iris_requests(model: Model) -> list[bytes]:
    """Requests with one row in JSON each, as whole HTTP messages."""
    bodies = [messages.json_body(model, row) for row in messages.iris_rows(ROWS)]
    return [messages.http_request(model.infer_path, body, headers) for body, headers in bodies]


def check_iris(model: Model, servers: Mapping[str, Server]) -> None:
    """Check that every server returns the model's outputs for a row. Raises BenchError."""
    row = messages.iris_rows(1)[0]
    expected = expected_outputs(str(model.file), row)
    for server in servers.values():
        check_http(server, model.infer_path, messages.json_body(model, row), expected)


def compare_on_iris(
    bench: Bench, group: ServerGroup, model: Model, servers: Mapping[str, Server], connections: int
) -> Setting:
    """Compare servers under requests with one row in JSON."""
    requests = iris_requests(model)
    return bench.compare(
        connections, [over_http(name, group, one, requests, connections) for name, one in servers.items()]
    )


def rival_numbers(setting: Setting) -> list[Number]:
    """Throughput and p99 against each rival."""
    at = at_connections(setting.connections)
    targets = RIVAL_TARGETS[setting.connections]
    return [
        times(f"JSON, {at}: throughput against {name}", setting, OURS, name, target) for name, target in targets.items()
    ] + [no_slower(f"JSON, {at}: p99 against {name}", setting, OURS, name) for name in targets]


def json_part(bench: Bench) -> Part:
    """One iris row in JSON: ours against the bare ASGI application and against FastAPI."""
    model = bench.model("iris")
    with bench.server_group() as group:
        servers = {OURS: bench.start(group, model)} | {
            name: start_rival(group, name, model) for name in (BARE, FASTAPI)
        }
        check_iris(model, servers)
        settings = [compare_on_iris(bench, group, model, servers, connections) for connections in RIVAL_TARGETS]
    return Part("json", "One iris row, JSON", [number for one in settings for number in rival_numbers(one)], settings)


def binary_part(bench: Bench) -> Part:
    """A 1x3x224x224 tensor to lite0 int8, over HTTP (binary extension) and gRPC: ours against ONNX Runtime alone."""
    model, tensors = bench.model("imagenet_lite0_int8"), messages.image_tensors(IMAGES)
    bodies = [messages.binary_body(model, tensor) for tensor in tensors]
    https = [messages.http_request(model.infer_path, body, headers) for body, headers in bodies]
    grpcs = [messages.grpc_request(model, tensor) for tensor in tensors]
    with bench.server_group() as group:
        server, expected = bench.start(group, model), expected_outputs(str(model.file), tensors[0])
        check_http(server, model.infer_path, bodies[0], expected)
        check_grpc(server, grpcs[0], expected)
        http, grpc = ALONE_TARGETS
        contestants = [
            over_http(http, group, server, https, IMAGE_CONNECTIONS),
            over_grpc(grpc, group, server, grpcs, IMAGE_CONNECTIONS),
            alone(group, model, tensors[0]),
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
    """One row for the random forest: our server with batching against itself without."""
    model = bench.model("iris_rf")
    with bench.server_group() as group:
        servers = {OURS: bench.start(group, model), UNBATCHED: bench.start(group, model, {"BATCH_MAX_ROWS": "1"})}
        check_iris(model, servers)
        settings = [compare_on_iris(bench, group, model, servers, connections) for connections in BATCHING_TARGETS]
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
    """Seconds from start to ready (the first start warms the disk cache) and memory after SERVED_ANSWERS responses."""
    model = bench.model("iris")
    starts: list[float] = []
    for _ in range(bench.pace.starts + 1):
        with bench.server_group() as group:
            starts.append(bench.start(group, model).ready_seconds)
        bench.turn_done()
    with bench.server_group() as group:
        server = bench.start(group, model)
        plan = Plan(
            port=server.port,
            requests=iris_requests(model),
            connections=SERVED_CONNECTIONS,
            seconds=SERVED_SECONDS,
            count=SERVED_ANSWERS,
        )
        failed = group.load(plan).failures
        memory = server.memory_bytes() / 1e6
    numbers = [
        Number("iris, one core: process start to ready", Spread.of(starts[1:]), READY_SECONDS, False, " s"),
        Number(
            f"iris: memory after {SERVED_ANSWERS} answers", Spread.of([memory]), MEMORY_MEGABYTES, False, " MB", failed
        ),
    ]
    return Part("start", "Start and memory", numbers)


def generator_part(bench: Bench) -> Part:
    """The limit of the load generator: a server that always sends the same bytes."""
    model, port, once = bench.model("iris"), free_port(), replace(bench, pace=replace(bench.pace, rounds=1))
    with bench.server_group() as group:
        server = group.start("constant", [sys.executable, "-m", "bench.rivals.constant", str(port)], {}, port)
        settings = [
            compare_on_iris(once, group, model, {CONSTANT: server}, connections) for connections in RIVAL_TARGETS
        ]
    return Part("generator", "The load generator by itself", [], settings)


PARTS: Parts = {
    "json": PartRunner(json_part, lambda pace: 6 * pace.rounds),
    "binary": PartRunner(binary_part, lambda pace: 3 * pace.rounds),
    "batching": PartRunner(batching_part, lambda pace: 4 * pace.rounds),
    "start": PartRunner(start_part, lambda pace: 1 + pace.starts),
    "generator": PartRunner(generator_part, lambda _: len(RIVAL_TARGETS)),
}
