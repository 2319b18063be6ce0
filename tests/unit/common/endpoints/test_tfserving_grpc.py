"""TensorFlow Serving's two gRPC services on a real server, beside the Open Inference Protocol's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.endpoints.oip_grpc import serve_grpc
from common.endpoints.tfserving_grpc import add_tfserving
from common.protocol.grpc import oip_pb2, oip_pb2_grpc
from common.protocol.grpc import tfserving_pb2 as pb
from common.protocol.grpc import tfserving_pb2_grpc as pb_grpc
from common.protocol.grpc import tfserving_tensor_pb2 as tensor_pb
from common.protocol.grpc.tfserving_tensors import decode, encode
from tests.unit.common.endpoints.fake_backend import FakeBackend, area, broken, captions, flowers
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.ports import free_port

Code = grpc.StatusCode
ROWS = encode(np.array([[0.25, 1], [1, 0]], np.float32))


class Surface:
    """A served backend and clients of it."""

    def __init__(self, channel: grpc.aio.Channel, backend: FakeBackend, logged: CapturedLog) -> None:
        self.backend, self.logged = backend, logged
        self.prediction: Any = pb_grpc.PredictionServiceStub(channel)
        self.models: Any = pb_grpc.ModelServiceStub(channel)
        self.oip: Any = oip_pb2_grpc.GRPCInferenceServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)

    async def predict(self, spec: dict[str, Any], *wanted: str, **inputs: tensor_pb.TensorProto) -> pb.PredictResponse:
        request = pb.PredictRequest(model_spec=spec, inputs=inputs, output_filter=wanted)
        answer: pb.PredictResponse = await self.prediction.Predict(request, timeout=20)
        return answer


@pytest_asyncio.fixture
async def surface() -> AsyncIterator[Surface]:
    backend = FakeBackend(flowers(), area(), captions("1"), captions("12"), broken(), loading="late")
    logged, port = CapturedLog(), free_port()
    service = logged.service(max_body_bytes=100_000)
    async with (
        serve_grpc(backend, service, "127.0.0.1", port, [add_tfserving]),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Surface(channel, backend, logged)


async def refusal(call: Any, code: grpc.StatusCode) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() == code, caught.value.details()
    return caught.value.details() or ""


@pytest.mark.parametrize("spec", [{}, {"signature_name": "serving_default"}, {"version": {"value": 3}}])
async def test_rows_are_predicted_and_values_come_typed(surface: Surface, spec: dict[str, Any]) -> None:
    answer = await surface.predict({"name": "flowers", **spec}, x=ROWS)
    assert list(answer.outputs["scores"].float_val) == [0.75, 0.25, 0, 1]
    assert [one.size for one in answer.outputs["scores"].tensor_shape.dim] == [2, 2]
    assert list(answer.outputs["label"].int64_val) == [0, 1]
    told = answer.model_spec
    assert (told.name, told.version.value, told.signature_name) == ("flowers", 3, "serving_default")


async def test_only_the_outputs_asked_for_come(surface: Surface) -> None:
    answer = await surface.predict({"name": "flowers"}, "label", x=ROWS)
    assert list(answer.outputs) == ["label"]
    said = await refusal(surface.predict({"name": "flowers"}, "tulip", x=ROWS), Code.INVALID_ARGUMENT)
    assert said == "outputs: model 'flowers' has no output 'tulip', only scores, label"


async def test_one_value_stands_for_all_that_are_like_it(surface: Surface) -> None:
    sizes = [{"size": 3}, {"size": 2}]
    tensor = tensor_pb.TensorProto(dtype="DT_FLOAT", tensor_shape={"dim": sizes}, float_val=[2])
    answer = await surface.predict({"name": "area"}, x=tensor)
    assert decode(answer.outputs["area"], "area", 1000).tolist() == [[4], [4], [4]]


async def test_strings_go_in_and_out(surface: Surface) -> None:
    texts, times = encode(np.array([b"ha", b"ho"], object)), encode(np.array([2, 1]))
    answer = await surface.predict({"name": "captions"}, text=texts, times=times)
    assert list(answer.outputs["caption"].string_val) == [b"haha", b"ho"]
    assert list(answer.outputs["png_bytes"].string_val) == [b"\xffhaha", b"\xffho"]
    assert answer.model_spec.version.value == 1


@pytest.mark.parametrize(
    ("spec", "inputs", "code", "reason"),
    [
        ({}, {"x": ROWS}, Code.INVALID_ARGUMENT, "model_spec.name: is missing"),
        ({"name": "tulips"}, {"x": ROWS}, Code.NOT_FOUND, "no model 'tulips'"),
        ({"name": "flowers", "version": {"value": 7}}, {"x": ROWS}, Code.NOT_FOUND, "in version '7'"),
        ({"name": "flowers", "version": {}}, {"x": ROWS}, Code.NOT_FOUND, "in version '0'"),
        ({"name": "late"}, {"x": ROWS}, Code.UNAVAILABLE, "loading"),
        ({"name": "flowers", "version_label": "stable"}, {"x": ROWS}, Code.INVALID_ARGUMENT, "label: 'stable'"),
        ({"name": "flowers", "signature_name": "x"}, {"x": ROWS}, Code.INVALID_ARGUMENT, "signature_name"),
        ({"name": "flowers"}, {}, Code.INVALID_ARGUMENT, "expected 'x', got []"),
        ({"name": "flowers"}, {"x": ROWS, "y": ROWS}, Code.INVALID_ARGUMENT, "expected 'x', got ['x', 'y']"),
        ({"name": "area"}, {"x": encode(np.zeros((1, 3), np.float32))}, Code.INVALID_ARGUMENT, "expected [-1, 2]"),
        ({"name": "area"}, {"x": encode(np.zeros((1, 2)))}, Code.INVALID_ARGUMENT,
         "inputs['x'].datatype: expected FP32, got FP64"),
        ({"name": "area"}, {"x": tensor_pb.TensorProto(dtype="DT_FLOAT", float_val=[1], tensor_shape={"dim": [
            {"size": 1 << 36}, {"size": 2}]})}, Code.RESOURCE_EXHAUSTED, "at most 100000 rows"),
    ],
)  # fmt: skip
async def test_a_wrong_request_is_refused_and_says_why(
    surface: Surface, spec: dict[str, Any], inputs: dict[str, Any], code: grpc.StatusCode, reason: str
) -> None:
    assert reason in await refusal(surface.predict(spec, **inputs), code)
    assert surface.backend.asked == []


def example(**values: float) -> tensor_pb.Example:
    """Whole numbers as such, others as floats, as TensorFlow's clients tell them apart."""
    feature = {
        name: {"int64_list" if isinstance(value, int) else "float_list": {"value": [value]}}
        for name, value in values.items()
    }
    return tensor_pb.Example(features={"feature": feature})


async def test_examples_are_classified(surface: Surface) -> None:
    listed = pb.Input(example_list={"examples": [example(length=0.25, width=2), example(length=1, width=0.5)]})
    request = pb.ClassificationRequest(model_spec={"name": "flowers"}, input=listed)
    answer = await surface.prediction.Classify(request, timeout=20)
    found = [[(one.label, one.score) for one in row.classes] for row in answer.result.classifications]
    assert found == [[("rose", 0.75), ("daisy", 0.25)], [("rose", 0), ("daisy", 1)]]
    assert answer.model_spec.version.value == 3


async def test_examples_are_regressed_with_what_their_context_has(surface: Surface) -> None:
    given = {"examples": [example(length=3), example(length=4, width=1)], "context": example(width=2.5)}
    request = pb.RegressionRequest(model_spec={"name": "area"}, input={"example_list_with_context": given})
    answer = await surface.prediction.Regress(request, timeout=20)
    assert [one.value for one in answer.result.regressions] == [7.5, 4]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (pb.Input(), "examples: expected at least one"),
        (pb.Input(example_list={"examples": [example(length=1)]}), "examples[0]: expected features"),
        (pb.Input(example_list_with_context={"examples": [example()], "context": example(a=1)}), "context: expec"),
        (pb.Input(example_list={"examples": [tensor_pb.Example(features={"feature": {
            "length": {"bytes_list": {"value": [b"1"]}}, "width": {"float_list": {"value": [1]}}}})]}),
            "expected a number"),
        (pb.Input(example_list={"examples": [tensor_pb.Example(features={"feature": {
            "length": {"float_list": {"value": [1]}}, "width": {}}})]}), "width: expected one value, got 0"),
    ],
)  # fmt: skip
async def test_a_wrong_example_is_refused(surface: Surface, given: pb.Input, reason: str) -> None:
    request = pb.ClassificationRequest(model_spec={"name": "flowers"}, input=given)
    assert reason in await refusal(surface.prediction.Classify(request, timeout=20), Code.INVALID_ARGUMENT)


async def test_a_model_without_named_features_takes_no_examples(surface: Surface) -> None:
    listed = pb.Input(example_list={"examples": [example(length=1)]})
    request = pb.RegressionRequest(model_spec={"name": "broken"}, input=listed)
    said = await refusal(surface.prediction.Regress(request, timeout=20), Code.INVALID_ARGUMENT)
    assert "it has no named features" in said


async def test_several_heads_in_one_call_are_not_served(surface: Surface) -> None:
    call = surface.prediction.MultiInference(pb.MultiInferenceRequest(), timeout=20)
    assert "call Predict, Classify or Regress" in await refusal(call, Code.UNIMPLEMENTED)


async def test_the_metadata_tells_the_signatures(surface: Surface) -> None:
    request = pb.GetModelMetadataRequest(model_spec={"name": "flowers"}, metadata_field=["signature_def"])
    answer = await surface.prediction.GetModelMetadata(request, timeout=20)
    packed = answer.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    found = pb.SignatureDefMap.FromString(packed.value).signature_def
    assert set(found) == {"serving_default", "classification"}
    assert found["serving_default"].inputs["x"].dtype == tensor_pb.DT_FLOAT
    request.metadata_field[:] = ["weights"]
    said = await refusal(surface.prediction.GetModelMetadata(request, timeout=20), Code.INVALID_ARGUMENT)
    assert said == "metadata_field: expected only signature_def, got ['weights']"


async def test_the_status_lists_the_versions_that_answer(surface: Surface) -> None:
    request = pb.GetModelStatusRequest(model_spec={"name": "captions"})
    answer = await surface.models.GetModelStatus(request, timeout=20)
    available = pb.ModelVersionStatus.AVAILABLE
    assert [(one.version, one.state) for one in answer.model_version_status] == [(12, available), (1, available)]
    request = pb.GetModelStatusRequest(model_spec={"name": "captions", "version": {"value": 7}})
    await refusal(surface.models.GetModelStatus(request, timeout=20), Code.NOT_FOUND)


async def test_the_health_service_knows_all_the_services(surface: Surface) -> None:
    names = ("PredictionService", "ModelService")
    for name in ("", "inference.GRPCInferenceService", *(f"tensorflow.serving.{one}" for one in names)):
        answer = await surface.health.Check(health_pb2.HealthCheckRequest(service=name), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_other_protocol_is_there_beside_it(surface: Surface) -> None:
    answer = await surface.oip.ModelMetadata(oip_pb2.ModelMetadataRequest(name="flowers"), timeout=20)
    assert (answer.name, answer.platform) == ("flowers", "fake")


async def test_a_call_is_traced_and_logged_as_every_other(surface: Surface) -> None:
    request = pb.PredictRequest(model_spec={"name": "area"}, inputs={"x": ROWS})
    call = surface.prediction.Predict(request, timeout=20, metadata=(("x-request-id", "order-66"),))
    await call
    trailing = dict(await call.trailing_metadata())
    assert trailing["x-request-id"] == "order-66"
    assert "decode;dur=" in trailing["server-timing"]
    (line,) = surface.logged.lines("request")
    assert line["route"] == "/tensorflow.serving.PredictionService/Predict"
    assert (line["request_id"], line["model"], line["status"]) == ("order-66", "area", "OK")


async def test_a_spent_deadline_starts_no_inference(surface: Surface) -> None:
    request = pb.PredictRequest(model_spec={"name": "area"}, inputs={"x": ROWS})
    await refusal(surface.prediction.Predict(request, timeout=-1), Code.DEADLINE_EXCEEDED)  # spent on the wire too
    assert surface.backend.asked == []
