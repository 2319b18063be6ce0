"""The protocol's calls over a real gRPC server: answers, refusals with their status, deadlines, callers who leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.endpoints.grpc_messages import MOST_STREAMS
from common.endpoints.oip_grpc import serve_grpc
from common.inference.onnx_backend import OnnxBackend
from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc import oip_pb2_grpc as pb_grpc
from common.service import Service
from tests.unit.common.inference.temporary_repository import TemporaryRepository
from tests.unit.common.polling import until
from tests.unit.common.ports import free_port

Code = grpc.StatusCode


class Running:
    """A served repository and a client of it."""

    def __init__(self, repository: TemporaryRepository, service: Service, channel: grpc.aio.Channel) -> None:
        self.repository, self.service, self.channel = repository, service, channel
        self.client: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)

    def lines(self) -> list[dict[str, Any]]:
        return self.repository.logged.lines("request")


@pytest_asyncio.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    repository = TemporaryRepository(tmp_path, queue=2, faults=True)
    repository.put("3", 5)
    service = repository.logged.service(max_body_bytes=4096)
    backend = OnnxBackend(repository.models, repository.inference_metrics, repository.logged.logs.log)
    port = free_port()
    async with (
        repository.open("tiny"),
        serve_grpc(backend, service, "127.0.0.1", port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Running(repository, service, channel)


def question(*values: float, model: str = "tiny", version: str = "", outputs: tuple[str, ...] = ()) -> Any:
    rows = np.repeat(np.array(values, np.float32), 2).reshape(-1, 2)
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=rows.shape)
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs]
    return pb.ModelInferRequest(
        model_name=model, model_version=version, id="7", inputs=[tensor], outputs=wanted,
        raw_input_contents=[rows.tobytes()],
    )  # fmt: skip


async def failure(call: Any) -> tuple[Code, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_a_request_is_answered(running: Running) -> None:
    answer = await running.client.ModelInfer(question(1, 2, outputs=("y",)))
    assert (answer.model_name, answer.model_version, answer.id) == ("tiny", "3", "7")
    assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [10, 20]


async def test_models_and_versions_are_listed(running: Running) -> None:
    client = running.client
    assert (await client.ServerLive(pb.ServerLiveRequest())).live
    assert (await client.ServerReady(pb.ServerReadyRequest())).ready
    assert "binary_tensor_data" in (await client.ServerMetadata(pb.ServerMetadataRequest())).extensions
    assert (await client.ModelReady(pb.ModelReadyRequest(name="tiny", version="3"))).ready
    metadata = await client.ModelMetadata(pb.ModelMetadataRequest(name="tiny"))
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("tiny", ["3"], "onnx_onnxv1")
    assert [(one.name, one.datatype, list(one.shape)) for one in metadata.inputs] == [("x", "FP32", [-1, 2])]
    assert [(one.name, one.datatype, list(one.shape)) for one in metadata.outputs] == [("y", "FP32", [-1])]


@pytest.mark.parametrize(
    ("asked", "code", "detail"),
    [
        (question(1, model="other"), Code.NOT_FOUND, "model 'other' is not served here; the models are: tiny"),
        (question(1, version="4"), Code.NOT_FOUND, "is not served here; the versions are: 3"),
        (question(1, outputs=("z",)), Code.INVALID_ARGUMENT, "has no output 'z'"),
        (pb.ModelInferRequest(model_name="tiny"), Code.INVALID_ARGUMENT, "inputs: expected 'x', got []"),
    ],
)
async def test_a_wrong_request_is_refused_with_its_status(
    running: Running, asked: Any, code: Code, detail: str
) -> None:
    found, said = await failure(running.client.ModelInfer(asked))
    assert found == code
    assert detail in said


async def test_a_message_beyond_the_bound_is_refused(running: Running) -> None:
    code, _ = await failure(running.client.ModelInfer(question(*range(1000))))
    assert code == Code.RESOURCE_EXHAUSTED


async def test_a_full_queue_says_when_to_come_back(running: Running) -> None:
    async with running.repository.held():
        calls = [running.client.ModelInfer(question(1))]
        await running.repository.running()
        calls += [running.client.ModelInfer(question(2)) for _ in range(2)]
        await until(lambda: running.repository.models.get("tiny").batcher.depth == 2, "a full queue")
        refused = running.client.ModelInfer(question(3))
        code, detail = await failure(refused)
        assert (code, detail[:50]) == (Code.RESOURCE_EXHAUSTED, "the queue of the model is full: 2 requests wait al")
        assert dict(await refused.trailing_metadata())["retry-after"].isdecimal()
    for call in calls:
        await call


async def test_a_deadline_is_kept_while_the_model_runs(running: Running) -> None:
    async with running.repository.held():
        code, _ = await failure(running.client.ModelInfer(question(1), timeout=0.2))
    assert code == Code.DEADLINE_EXCEEDED


async def test_a_disconnected_clients_request_leaves_the_queue(running: Running) -> None:
    batcher = running.repository.models.get("tiny").batcher
    async with running.repository.held():
        first = running.client.ModelInfer(question(1))
        await running.repository.running()
        second = running.client.ModelInfer(question(2))
        await until(lambda: batcher.depth == 1, "a queued request")
        second.cancel()
        await until(lambda: batcher.depth == 0, "its leaving")
    await first
    await until(lambda: [line["status"] for line in running.lines()] == ["CANCELLED", "OK"], "both lines")
    assert running.service.metrics.in_progress == 0


async def test_id_and_trace_are_taken_over_into_the_log(running: Running) -> None:
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    await running.client.ModelInfer(question(1), metadata=(("x-request-id", "mine"), ("traceparent", trace)))
    await running.client.ModelInfer(question(1), metadata=(("x-request-id", '"}{'), ("traceparent", "none")))
    mine, other = running.lines()
    assert (mine["request_id"], mine["trace_id"]) == ("mine", "ab" * 16)
    assert (mine["method"], mine["route"], mine["status"]) == (
        "gRPC",
        "/inference.GRPCInferenceService/ModelInfer",
        "OK",
    )
    assert other["request_id"] == other["trace_id"] != "ab" * 16


async def test_a_model_that_is_not_there_yet_is_not_ready(running: Running) -> None:
    running.repository.models.register("late")
    assert not (await running.client.ModelReady(pb.ModelReadyRequest(name="late"))).ready
    assert await failure(running.client.ModelInfer(question(1, model="late"))) == (
        Code.UNAVAILABLE,
        "model 'late' is not ready: not loaded yet",
    )
    assert (await failure(running.client.ModelReady(pb.ModelReadyRequest(name="other"))))[0] == Code.NOT_FOUND


async def test_health_is_that_of_the_service(running: Running) -> None:
    ask = health_pb2.HealthCheckRequest
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert (await running.health.Check(ask())).status == serving
    running.service.health.draining = True
    assert (await running.health.Check(ask(service="inference.GRPCInferenceService"))).status == not_serving
    assert not (await running.client.ServerReady(pb.ServerReadyRequest())).ready
    assert (await running.client.ServerLive(pb.ServerLiveRequest())).live
    assert (await failure(running.health.Check(ask(service="other"))))[0] == Code.NOT_FOUND


async def test_health_can_be_watched(running: Running) -> None:
    watch = running.health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    running.service.health.draining = True
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()


async def test_health_watchers_do_not_delay_the_drain(running: Running) -> None:
    backend = OnnxBackend(
        running.repository.models, running.repository.inference_metrics, running.repository.logged.logs.log
    )
    service, port = running.repository.logged.service(drain_timeout_seconds=600), free_port()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(20):
        async with serve_grpc(backend, service, "127.0.0.1", port):
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            service.health.draining = True
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await watch.read() is grpc.aio.EOF


async def test_a_taken_port_is_named(running: Running) -> None:
    port = free_port()
    backend = OnnxBackend(
        running.repository.models, running.repository.inference_metrics, running.repository.logged.logs.log
    )
    async with serve_grpc(backend, running.service, "127.0.0.1", port):
        with pytest.raises(RuntimeError, match=f"cannot listen on 127.0.0.1:{port} for gRPC; choose another GRPC_PORT"):
            async with serve_grpc(backend, running.service, "127.0.0.1", port):
                raise AssertionError("two servers on one port")


async def test_leaving_waits_for_calls_in_flight(tmp_path: Path) -> None:
    repository = TemporaryRepository(tmp_path, faults=True)
    repository.put("1", 1)
    service = repository.logged.service()
    backend, port = (
        OnnxBackend(repository.models, repository.inference_metrics, repository.logged.logs.log),
        free_port(),
    )
    async with repository.open("tiny"), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        client: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        async with repository.held():
            async with serve_grpc(backend, service, "127.0.0.1", port):
                call = asyncio.ensure_future(client.ModelInfer(question(1)))
                await repository.running()
                asyncio.get_running_loop().call_later(0.1, repository.release)
            assert (await call).model_version == "1"
    assert json.dumps(repository.logged.lines("unhandled error")) == "[]"


async def test_a_malformed_message_is_refused_in_one_line(running: Running, capfd: pytest.CaptureFixture[str]) -> None:
    for service, method in (("inference.GRPCInferenceService", "ModelInfer"), ("grpc.health.v1.Health", "Check")):
        call: Any = running.channel.unary_unary(f"/{service}/{method}")
        code, details = await failure(call(b"\x0a\xff\xff"))
        assert (code, "not valid protobuf" in details) == (Code.INVALID_ARGUMENT, True)
    (line,) = running.lines()  # a probe has none
    assert (line["status"], "not valid protobuf" in line["error"]) == ("INVALID_ARGUMENT", True)
    watch: Any = running.channel.unary_stream("/grpc.health.v1.Health/Watch")
    assert (await failure(watch(b"\x0a\xff\xff").read()))[0] == Code.INVALID_ARGUMENT
    assert capfd.readouterr().err == ""


async def test_a_long_name_is_cut_in_a_probe(running: Running) -> None:
    long = health_pb2.HealthCheckRequest(service="é" * 1_500)
    code, details = await failure(running.health.Check(long))
    assert (code, len(details) < 500) == (Code.NOT_FOUND, True)
    assert (await running.health.Watch(long).read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


async def test_only_so_many_calls_may_watch(running: Running) -> None:
    watches = [running.health.Watch(health_pb2.HealthCheckRequest()) for _ in range(MOST_STREAMS)]
    for watch in watches:
        await watch.read()
    code, details = await failure(running.health.Watch(health_pb2.HealthCheckRequest()).read())
    assert (code, "the most that may be" in details) == (Code.RESOURCE_EXHAUSTED, True)
    for watch in watches:
        watch.cancel()
    await until(lambda: not running.service.capacity.held, "their end")
    assert (await running.health.Watch(health_pb2.HealthCheckRequest()).read()).status


@pytest.mark.parametrize("length", [10, 1200])
@pytest.mark.parametrize("letter", ["a", "é", "字", "\x01", "%"])
async def test_an_unknown_model_is_not_found_however_long_its_name(running: Running, length: int, letter: str) -> None:
    name = letter * length
    for call in (
        running.client.ModelInfer(pb.ModelInferRequest(model_name=name)),
        running.client.ModelInfer(question(1, version=name)),
        running.client.ModelMetadata(pb.ModelMetadataRequest(name=name)),
        running.client.ModelReady(pb.ModelReadyRequest(name="tiny", version=name)),
    ):
        code, details = await failure(call)
        assert (code, "is not served here" in details) == (Code.NOT_FOUND, True)
        assert len(details) < 1000


async def test_what_triton_offers_beyond_the_protocol_is_refused_by_name(running: Running) -> None:
    asked = question(1)
    asked.inputs[0].parameters["shared_memory_region"].string_param = "region"
    code, details = await failure(running.client.ModelInfer(asked))
    assert (code, "inputs[0].parameters.shared_memory_region" in details) == (Code.INVALID_ARGUMENT, True)
    asked = question(1, outputs=("y",))
    asked.outputs[0].parameters["classification"].int64_param = 3
    code, details = await failure(running.client.ModelInfer(asked))
    assert (code, "outputs[0].parameters.classification" in details) == (Code.INVALID_ARGUMENT, True)
