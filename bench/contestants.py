"""Starts our server and its rivals, checks that they answer alike, and makes turns of load out of them."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.measure import Contestant, Pace
from bench.messages import MODEL_INFER, Model, Outputs, ask, ask_grpc
from bench.plan import LOCAL, Plan, Result
from bench.process import Bay, BenchError, Server, free_port, run_plan

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
    """The pattern's `api` with its defaults: metrics, validation, gRPC and the access log (to a file) are on."""
    port = free_port()
    environment = {
        "MODEL": model.name,
        "MODEL_REPOSITORY": str(repository),
        "HTTP_PORT": str(port),
        "GRPC_PORT": str(free_port()),
        "DRAIN_DELAY_SECONDS": "0",
    }
    command = [sys.executable, "-m", "common.serve", f"patterns.{pattern}.api"]
    return bay.start(f"{OURS}-{port}", command, environment | dict(settings or {}), port)


def start_rival(bay: Bay, name: str, model: Model) -> Server:
    """A rival on uvicorn in one process, its access log off."""
    port = free_port()
    command = [sys.executable, *UVICORN, "--port", str(port), "--factory", RIVALS[name]]
    return bay.start(f"{name}-{port}", command, {"MODEL_FILE": str(model.file)}, port)


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


def under_load(name: str, bay: Bay, server: Server, plan: Plan) -> Contestant:
    """A server that takes its turns under this load, awake only then; the run's pace sets the times of the plan."""

    def turn(pace: Pace) -> Result:
        with server.measured():
            before = server.cpu_seconds()
            result = bay.load(paced(plan, pace))
            spent = server.cpu_seconds() - before
        return msgspec.structs.replace(result, server_cpu=spent / max(1, result.answered_in_all))

    return Contestant(name, turn)


def alone(bay: Bay, model: Model, tensor: NDArray[np.float32]) -> Contestant:
    """ONNX Runtime by itself, in a process of its own on the server's core."""
    plan = Plan(port=0, requests=[tensor.tobytes()], connections=1, seconds=1.0)

    def turn(pace: Pace) -> Result:
        return run_plan(["bench.rivals.ort_alone", str(model.file)], paced(plan, pace), bay.cores.server)

    return Contestant(ALONE, turn)


def paced(plan: Plan, pace: Pace) -> Plan:
    """The plan with the times of the run."""
    return msgspec.structs.replace(plan, seconds=pace.seconds, warm_up_seconds=pace.warm_up_seconds)
