"""The composing client over gRPC, against a real grpc.aio server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
import pytest_asyncio

from common.client import ClientLimits, ModelMetadata, PredictorClient
from common.errors import (
    DeadlineExceeded,
    InvalidInput,
    Overloaded,
    PreprocessingMismatch,
    ServingError,
    UpstreamFailed,
    UpstreamModelNotFound,
)
from common.protocol.grpc import oip_pb2 as pb
from common.protocol.tensors import TensorSpec
from common.request.deadline import Deadline
from tests.unit.common.client.http_predictor import X, free_port, infer, stopwatch

Context = grpc.aio.ServicerContext[Any, Any]
Reply = Callable[[pb.ModelInferRequest, Context], Awaitable[pb.ModelInferResponse]]
Tensor = pb.ModelMetadataResponse.TensorMetadata


class GrpcPredictor:
    """Answers with `replies` one after the other, then with `usual`."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.usual: Reply = double
        self.calls: list[tuple[dict[str, str], float]] = []
        self.url = ""

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[GrpcPredictor]:
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        methods: dict[str, tuple[Any, type[Any]]] = {
            "ModelInfer": (self._infer, pb.ModelInferRequest),
            "ModelReady": (self._ready, pb.ModelReadyRequest),
            "ModelMetadata": (self._metadata, pb.ModelMetadataRequest),
        }
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(
                method, kind.FromString, lambda answer: answer.SerializeToString()
            )
            for name, (method, kind) in methods.items()
        }
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)]
        )
        self.url = f"grpc://127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
        await server.start()
        try:
            yield self
        finally:
            await server.stop(0)

    async def _infer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        self.calls.append(
            ({name: str(value) for name, value in context.invocation_metadata() or ()}, context.time_remaining())
        )
        return await (self.replies.pop(0) if self.replies else self.usual)(request, context)

    async def _ready(self, request: pb.ModelReadyRequest, _: Context) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=request.name == "m")

    async def _metadata(self, request: pb.ModelMetadataRequest, _: Context) -> pb.ModelMetadataResponse:
        tensor = Tensor(name="x", datatype="FP32", shape=[-1, 3])
        return pb.ModelMetadataResponse(name=request.name, versions=["1"], inputs=[tensor])


async def double(request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
    array = np.frombuffer(request.raw_input_contents[0], np.float32) * 2
    context.set_trailing_metadata((("server-timing", "model;dur=1.5"),))
    output = pb.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=request.inputs[0].shape)
    return pb.ModelInferResponse(
        model_name="m", model_version="3", outputs=[output], raw_output_contents=[array.tobytes()]
    )


async def stall(request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
    await asyncio.sleep(30)
    return await double(request, context)


def status(code: grpc.StatusCode, **trailing: str) -> Reply:
    async def reply(request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        metadata = tuple((name.replace("_", "-"), value) for name, value in trailing.items())
        await context.abort(code, "these are the words", metadata)
        raise AssertionError

    return reply


@pytest_asyncio.fixture
async def predictor() -> AsyncIterator[GrpcPredictor]:
    async with GrpcPredictor().running() as running:
        yield running


async def test_arrays_and_context_go_out_and_arrays_come_back(predictor: GrpcPredictor) -> None:
    async with PredictorClient(predictor.url, model="m") as client:
        result = await client.infer(
            {"x": X}, outputs=["y"], deadline=Deadline.after(2), headers={"X-Request-ID": "r-1", "traceparent": "a\nb"}
        )
    np.testing.assert_array_equal(result.outputs["y"], X * 2)
    assert (result.model_name, result.model_version, result.server_timing) == ("m", "3", "model;dur=1.5")
    ((metadata, left),) = predictor.calls
    assert metadata["x-request-id"] == "r-1"
    assert "traceparent" not in metadata
    assert 1.5 < left <= 2.1  # gRPC rounds a timeout up


async def test_each_attempt_has_the_remaining_time(predictor: GrpcPredictor) -> None:
    predictor.replies = [status(grpc.StatusCode.UNAVAILABLE, retry_after="0.2")] * 2
    async with PredictorClient(predictor.url, model="m") as client:
        await infer(client, 2.0)
    first, second, third = (left for _, left in predictor.calls)
    assert 2.0 * 1.03 >= first >= second + 0.13 >= third + 0.26  # gRPC may state them 3% too long


async def test_a_slow_predictor_is_given_up_at_the_deadline(predictor: GrpcPredictor) -> None:
    predictor.usual = stall
    async with PredictorClient(predictor.url, model="m") as client, stopwatch() as seconds:
        with pytest.raises(DeadlineExceeded):
            await infer(client, 0.2)
        assert seconds() < 0.25
    assert len(predictor.calls) == 1


async def test_a_cancelled_call_is_cancelled_at_the_predictor(predictor: GrpcPredictor) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def notice(request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        arrived.set()
        try:
            return await stall(request, context)
        finally:
            left.set()

    predictor.replies = [notice]
    async with PredictorClient(predictor.url, model="m") as client:
        call = asyncio.create_task(infer(client, 30))
        await asyncio.wait_for(arrived.wait(), 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(left.wait(), 2)
        await infer(client)


async def test_a_predictor_that_starts_before_the_retry_is_reached() -> None:
    port, predictor = free_port(), GrpcPredictor()
    limits = ClientLimits(attempts=40, retry_reserve=40, backoff_seconds=0.05, max_backoff_seconds=0.1)
    async with PredictorClient(f"grpc://127.0.0.1:{port}", model="m", limits=limits) as client:
        call = asyncio.create_task(infer(client, 5))
        await asyncio.sleep(0.1)
        assert not call.done()
        async with predictor.running(port):
            await call


async def test_a_predictor_that_restarts_is_found_again() -> None:
    port, predictor = free_port(), GrpcPredictor()
    limits = ClientLimits(attempts=40, retry_reserve=40, backoff_seconds=0.05, max_backoff_seconds=0.1)
    async with PredictorClient(f"grpc://127.0.0.1:{port}", model="m", limits=limits) as client:
        for _ in range(3):
            async with predictor.running(port):
                await infer(client, 5)


async def test_a_predictor_that_is_down_is_named_and_its_address_is_not() -> None:
    async with PredictorClient(f"grpc://127.0.0.1:{free_port()}", model="m", name="iris") as client:
        with pytest.raises(UpstreamFailed, match=r"^predictor iris is unavailable$"):
            await infer(client)
        assert not await client.ready(deadline=Deadline.after(1))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidInput),
        (grpc.StatusCode.NOT_FOUND, UpstreamModelNotFound),
        (grpc.StatusCode.FAILED_PRECONDITION, PreprocessingMismatch),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.INTERNAL, UpstreamFailed),
        (grpc.StatusCode.CANCELLED, UpstreamFailed),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
    ],
)
async def test_what_is_not_safe_or_no_use_is_never_repeated(
    predictor: GrpcPredictor, code: grpc.StatusCode, error: type[ServingError]
) -> None:
    predictor.usual = status(code)
    async with PredictorClient(predictor.url, model="m") as client:
        with pytest.raises(error, match="these are the words"):
            await infer(client)
    assert len(predictor.calls) == 1


@pytest.mark.parametrize("size", [0, 3, 400_000])
async def test_a_broken_or_oversized_answer_is_an_upstream_failure(predictor: GrpcPredictor, size: int) -> None:
    async def reply(request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        output = pb.ModelInferResponse.InferOutputTensor(name="y", datatype="FP32", shape=[1])
        return pb.ModelInferResponse(outputs=[output], raw_output_contents=[b"x" * size] * bool(size))

    predictor.usual = reply
    async with PredictorClient(predictor.url, model="m", limits=ClientLimits(max_response_bytes=300_000)) as client:
        with pytest.raises(UpstreamFailed, match=r"^predictor m"):
            await infer(client)
    assert len(predictor.calls) == 1


async def test_ready_and_metadata_are_asked_of_the_predictor(predictor: GrpcPredictor) -> None:
    async with (
        PredictorClient(predictor.url, model="m") as client,
        PredictorClient(predictor.url, model="other") as other,
    ):
        assert await client.ready(deadline=Deadline.after(1))
        assert not await other.ready(deadline=Deadline.after(1))
        found = await client.metadata(deadline=Deadline.after(1))
    assert found == ModelMetadata("m", ("1",), (TensorSpec("x", "FP32", (-1, 3)),), ())


async def test_no_proxy_of_the_environment_is_used(predictor: GrpcPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with PredictorClient(predictor.url, model="m") as client:
        await infer(client)
