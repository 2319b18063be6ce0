"""The Open Inference Protocol over gRPC: its six calls, the standard health service, deadlines, statuses, metadata."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc import oip_pb2_grpc as pb_grpc
from runtimes.base import Stack
from tests.conftest import Start
from tests.support import SETOSA, VIRGINICA, eventually, metric

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SERVING = health_pb2.HealthCheckResponse.SERVING
Code = grpc.StatusCode


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("web_single")


@pytest.fixture(scope="module")
def channel(stack: Stack) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(stack.grpc()) as channel:
        grpc.channel_ready_future(channel).result(10)
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> Any:
    return pb_grpc.GRPCInferenceServiceStub(channel)


def floats(*rows: list[float]) -> bytes:
    return b"".join(struct.pack("<4f", *row) for row in rows)


def request(
    *rows: list[float], raw: bool = False, model: str = "iris", version: str = "", **rest: Any
) -> pb.ModelInferRequest:
    tensor: dict[str, Any] = {"name": "features", "datatype": "FP32", "shape": [len(rows), 4]}
    if raw:
        rest["raw_input_contents"] = [floats(*rows)]
    else:
        tensor["contents"] = {"fp32_contents": [value for row in rows for value in row]}
    return pb.ModelInferRequest(model_name=model, model_version=version, inputs=[tensor], **rest)


def refused(call: Any, request: Any, **how: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=how.pop("timeout", 10), **how)
    return caught.value


def output(answer: pb.ModelInferResponse, name: str, dtype: str) -> list[Any]:
    index = [one.name for one in answer.outputs].index(name)
    return list(np.frombuffer(answer.raw_output_contents[index], dtype).tolist())


@pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
@pytest.mark.parametrize("version", ["", "1"], ids=["newest", "by version"])
def test_rows_are_inferred_in_order(stub: Any, raw: bool, version: str) -> None:
    answer = stub.ModelInfer(request(SETOSA, VIRGINICA, raw=raw, version=version, id="seven"), timeout=10)
    assert (answer.model_name, answer.model_version, answer.id) == ("iris", "1", "seven")
    assert [(one.name, one.datatype, list(one.shape)) for one in answer.outputs] == [
        ("probabilities", "FP32", [2, 3]),
        ("label", "INT64", [2]),
    ]
    assert output(answer, "label", "<i8") == [0, 2]
    assert sum(output(answer, "probabilities", "<f4")) == pytest.approx(2, abs=1e-5)


def test_only_the_outputs_asked_for_come(stub: Any) -> None:
    answer = stub.ModelInfer(request(SETOSA, outputs=[{"name": "label"}]), timeout=10)
    assert [one.name for one in answer.outputs] == ["label"]
    assert len(answer.raw_output_contents) == 1


def wrong(**tensor: Any) -> pb.ModelInferRequest:
    good = {"name": "features", "datatype": "FP32", "shape": [1, 4], "contents": {"fp32_contents": SETOSA}}
    return pb.ModelInferRequest(model_name="iris", inputs=[good | tensor])


def raw(*parts: bytes) -> pb.ModelInferRequest:
    request = wrong(contents=None)
    request.raw_input_contents.extend(parts)
    return request


NAN = [float("nan"), 1.0, 1.0, 1.0]


@pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
def test_nan_is_a_value(stub: Any, raw: bool) -> None:
    answer = stub.ModelInfer(request(NAN, SETOSA, raw=raw), timeout=10)
    probabilities = output(answer, "probabilities", "<f4")
    assert np.isnan(probabilities[:3]).all()
    assert sum(probabilities[3:]) == pytest.approx(1, abs=1e-5)


def test_no_rows_are_answered_with_no_rows(stub: Any) -> None:
    answer = stub.ModelInfer(wrong(shape=[0, 4], contents={}), timeout=10)
    assert [list(one.shape) for one in answer.outputs] == [[0, 3], [0]]


REFUSED = {
    "unknown model": (request(SETOSA, model="tulips"), Code.NOT_FOUND, "'tulips'"),
    "unknown version": (request(SETOSA, version="7"), Code.NOT_FOUND, "'7'"),
    "no inputs": (pb.ModelInferRequest(model_name="iris"), Code.INVALID_ARGUMENT, "'features'"),
    "wrong name": (wrong(name="measures"), Code.INVALID_ARGUMENT, "expected 'features'"),
    "wrong width": (wrong(shape=[1, 3], contents={"fp32_contents": SETOSA[:3]}), Code.INVALID_ARGUMENT, "[-1, 4]"),
    "wrong count": (wrong(shape=[2, 4]), Code.INVALID_ARGUMENT, "expected 8 fp32_contents"),
    "negative dimension": (wrong(shape=[-1, 4]), Code.INVALID_ARGUMENT, "[-1, 4]"),
    "huge dimensions": (wrong(shape=[0, 2**62, 2**62], contents={}), Code.INVALID_ARGUMENT, "shape"),
    "unknown datatype": (wrong(datatype="FLOAT"), Code.INVALID_ARGUMENT, "'FLOAT'"),
    "no datatype": (wrong(datatype=""), Code.INVALID_ARGUMENT, "datatype"),
    "other datatype": (
        wrong(datatype="FP64", contents={"fp64_contents": SETOSA}), Code.INVALID_ARGUMENT, "expected FP32",
    ),
    "values of another datatype": (wrong(contents={"fp64_contents": SETOSA}), Code.INVALID_ARGUMENT, "fp32_contents"),
    "raw beside typed": (request(SETOSA, raw_input_contents=[floats(SETOSA)]), Code.INVALID_ARGUMENT, "send one of"),
    "no contents": (raw(), Code.INVALID_ARGUMENT, "expected 4 fp32_contents"),
    "raw of another size": (raw(b"x"), Code.INVALID_ARGUMENT, "expected 16 bytes"),
    "raw of another count": (raw(b"", b""), Code.INVALID_ARGUMENT, "expected 1 entries, got 2"),
    "unknown output": (request(SETOSA, outputs=[{"name": "colour"}]), Code.INVALID_ARGUMENT, "'colour'"),
}  # fmt: skip


@pytest.mark.parametrize(("bad", "code", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_request_is_refused_by_status_and_harms_nobody(
    stub: Any, bad: pb.ModelInferRequest, code: grpc.StatusCode, says: str
) -> None:
    error = refused(stub.ModelInfer, bad)
    assert error.code() == code
    assert says in str(error.details())
    assert output(stub.ModelInfer(request(SETOSA), timeout=10), "label", "<i8") == [0]


def test_a_message_of_65_mb_is_refused(stub: Any) -> None:
    large = pb.ModelInferRequest(model_name="iris", raw_input_contents=[bytes(65_000_000)])
    assert refused(stub.ModelInfer, large).code() == Code.RESOURCE_EXHAUSTED
    assert output(stub.ModelInfer(request(SETOSA), timeout=10), "label", "<i8") == [0]


def test_what_is_no_protobuf_is_refused(channel: grpc.Channel, stub: Any) -> None:
    call: Any = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    assert refused(call, b"\xff" * 40).code() in (Code.INTERNAL, Code.INVALID_ARGUMENT, Code.UNKNOWN)
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=10).ready


@pytest.mark.parametrize("call", ["ModelReady", "ModelMetadata"])
def test_an_unknown_model_is_not_found(stub: Any, call: str) -> None:
    kind = {"ModelReady": pb.ModelReadyRequest, "ModelMetadata": pb.ModelMetadataRequest}[call]
    assert refused(getattr(stub, call), kind(name="tulips")).code() == Code.NOT_FOUND
    assert refused(getattr(stub, call), kind(name="iris", version="7")).code() == Code.NOT_FOUND


def test_an_unknown_call_is_unimplemented(channel: grpc.Channel) -> None:
    call: Any = channel.unary_unary("/inference.GRPCInferenceService/Guess")
    assert refused(call, b"").code() == Code.UNIMPLEMENTED


def test_a_deadline_that_has_passed_starts_no_inference(stub: Any, stack: Stack) -> None:
    def runs() -> float:
        return metric(stack.url(), "serving_inference_duration_seconds_count")

    def settled() -> float | None:
        """The count once it stands still: a call that another test gave up may have been under way."""
        first = runs()
        return first if [runs() for _ in range(5)] == [first] * 5 else None

    before = eventually(settled, 10, "no inference is under way")
    # gRPC rounds a timeout up on the wire: one of 0 leaves a quick model the time to answer
    assert refused(stub.ModelInfer, request(SETOSA), timeout=-1).code() == Code.DEADLINE_EXCEEDED
    assert runs() == before


def test_the_standard_health_service_knows_no_other(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    unknown = health_pb2.HealthCheckRequest(service="tulips")
    assert refused(stub.Check, unknown).code() == Code.NOT_FOUND
    # the protocol of the health service has Watch say so rather than fail
    assert next(stub.Watch(unknown, timeout=10)).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.mark.parametrize("model", ["iris", "tulips"], ids=["answered", "refused"])
def test_every_answer_bears_request_id_trace_and_timing(stub: Any, model: str) -> None:
    given = (("x-request-id", "order-66"), ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01"))
    call = stub.ModelInfer.future(request(SETOSA, model=model), timeout=10, metadata=given)
    call.exception()
    found = {one.key: one.value for one in call.trailing_metadata()}
    assert found["x-request-id"] == "order-66"
    assert re.fullmatch(rf"00-{TRACE}-(?!00f067aa0ba902b7)[0-9a-f]{{16}}-01", found["traceparent"])
    assert re.search(r"total;dur=[0-9.]+$", found["server-timing"])


def test_calls_are_counted_by_method_and_status(stub: Any, stack: Stack) -> None:
    route = "/inference.GRPCInferenceService/ModelInfer"

    def counted() -> tuple[float, float]:
        name = "serving_requests_total"
        return tuple(metric(stack.url(), name, route=route, method="gRPC", code=code) for code in ("OK", "NOT_FOUND"))  # type: ignore[return-value]

    ok, not_found = counted()
    stub.ModelInfer(request(SETOSA), timeout=10)
    refused(stub.ModelInfer, request(SETOSA, model="tulips"))
    eventually(lambda: counted() == (ok + 1, not_found + 1), 5, "both calls are counted")
