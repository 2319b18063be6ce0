"""A gRPC server that stops answers every call it has let in; a caller learns of the stop by a refused connection."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from common.endpoints.oip_grpc import serve_grpc
from common.inference.onnx_backend import OnnxBackend
from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc import oip_pb2_grpc as pb_grpc
from common.service import Service
from tests.unit.common.inference.temporary_repository import TemporaryRepository
from tests.unit.common.polling import until
from tests.unit.common.ports import free_port

CALLERS, RUNS = 12, 5
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)
ROW = pb.ModelInferRequest(
    model_name="tiny",
    inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 2])],
    raw_input_contents=[np.array([1, 2], np.float32).tobytes()],
)
UNKNOWN = pb.ModelInferRequest(model_name="unknown")


async def call_until_unavailable(stub: Any, request: pb.ModelInferRequest, tally: Counter[grpc.StatusCode]) -> None:
    while not tally[grpc.StatusCode.UNAVAILABLE]:
        try:
            await stub.ModelInfer(request, timeout=20)
            tally[grpc.StatusCode.OK] += 1
        except grpc.aio.AioRpcError as error:
            tally[error.code()] += 1


async def stop_under_load(
    serve: Callable[[Service, int], Any], service: Service, channels: int, request: pb.ModelInferRequest
) -> set[str]:
    """The statuses of the calls of a closed loop during which the server stops."""
    port, tally = free_port(), Counter[grpc.StatusCode]()
    async with serve(service, port):
        opened = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[OWN_CONNECTION]) for _ in range(channels)]
        stubs: list[Any] = [pb_grpc.GRPCInferenceServiceStub(opened[number % channels]) for number in range(CALLERS)]
        calls = [asyncio.create_task(call_until_unavailable(stub, request, tally)) for stub in stubs]
        await until(lambda: tally.total() > 3 * CALLERS, "the load")
    await asyncio.gather(*calls)
    for channel in opened:
        await channel.close()
    return {code.name for code in tally}


@pytest.mark.parametrize("channels", [1, CALLERS])
@pytest.mark.parametrize(("request_", "answer"), [(ROW, "OK"), (UNKNOWN, "NOT_FOUND")], ids=["right", "wrong"])
async def test_callers_in_a_closed_loop_lose_no_call(
    tmp_path: Path, channels: int, request_: pb.ModelInferRequest, answer: str
) -> None:
    repository = TemporaryRepository(tmp_path)
    repository.put("1", 5)
    logs = repository.logged.logs
    backend = OnnxBackend(repository.models, repository.inference_metrics, logs.log)

    def serve(service: Service, port: int) -> Any:
        return serve_grpc(backend, service, "127.0.0.1", port)

    async with repository.open("tiny"):
        for _ in range(RUNS):
            service = repository.logged.service(access_log=False)
            found = await stop_under_load(serve, service, channels, request_)
            assert found <= {answer, "UNAVAILABLE"}
