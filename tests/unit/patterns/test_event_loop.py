"""Large requests are decoded, and large responses encoded, beside the event loop, on every route and call."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from common.client import ModelMetadata, PredictorClient, PredictorResponse
from common.composition.predictor_health import HealthMonitor
from common.endpoints.backend import InferRequest, InferResponse
from common.endpoints.oip_grpc import InferenceService
from common.endpoints.oip_rest import InferRoute
from common.endpoints.tfserving_grpc import PredictionService
from common.endpoints.tfserving_rest import TfServingRoute
from common.endpoints.torchserve import TorchServeRoute
from common.http.reply import Reply
from common.inference.executor import BoundedExecutor
from common.inference.manifest import Manifest
from common.preprocessing.items import ItemPreparer
from common.protocol.grpc import oip_pb2
from common.protocol.grpc import tfserving_pb2 as pb
from common.protocol.grpc import tfserving_tensor_pb2 as tensor_pb
from common.protocol.grpc.tfserving_tensors import encode
from common.protocol.tensors import Array, TensorSpec
from common.request.context import RequestContext, current
from common.request.deadline import Deadline
from patterns.parallel.composition import Parallel
from patterns.parallel.ensemble import Ensemble, Limits
from patterns.parallel.predict import EnsembleRoute
from patterns.parallel.stream import LINES, answer_lines
from patterns.prep_pred.predict import RawInputRoute
from patterns.web_single.predict import PredictRoute
from tests.unit.common.endpoints.fake_backend import FakeBackend, FakeModel, area, flowers
from tests.unit.common.endpoints.item_models import ItemModel, colours
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.patterns.loop_share import large_request, longest_share

ROWS = 20_000  # more than LARGE bytes in every form
LARGEST_SHARE = 0.25
Handle = Callable[[RequestContext], Coroutine[Any, Any, Any]]


def wide() -> FakeModel:
    """A small input and a large output."""
    values = np.linspace(0, 1, 400_000, dtype=np.float32).reshape(4000, 100)
    return FakeModel("wide", area().inputs, [TensorSpec("y", "FP32", (-1, 100))], lambda _: {"y": values})


def texts() -> FakeModel:
    """Text in, one number out."""
    run: Callable[[dict[str, Array]], dict[str, Array]] = lambda _: {"y": np.zeros((1, 1), np.float32)}  # noqa: E731
    return FakeModel("texts", [TensorSpec("x", "BYTES", (-1,))], [TensorSpec("y", "FP32", (-1, 1))], run)


BACKEND = FakeBackend(area(), flowers(), wide(), texts(), colours())
ITEMS = ItemPreparer(BoundedExecutor(1, 8), 10_000)
ROW, PAIRS = {"length": 0.25, "width": 1.5}, [[0.1234567, 1.2345678]] * ROWS


def post(route: Any, path: str, content: Any) -> Handle:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return lambda context: route.handle(context, body)


def torchserve(model: str, content: Any) -> tuple[str, Handle]:
    path = f"/predictions/{model}"
    return path, post(TorchServeRoute(BACKEND, ITEMS), path, content)


def tfserving(model: str, content: Any) -> tuple[str, Handle]:
    path = f"/v1/models/{model}"
    return path, post(TfServingRoute(BACKEND, ITEMS), path, content)


def oip(model: str, rows: int) -> tuple[str, Handle]:
    tensor = {"name": "x", "shape": [rows, 2], "datatype": "FP32", "data": [0.1234567, 1.2345678] * rows}
    path = f"/v2/models/{model}/infer"
    return path, post(InferRoute(BACKEND), path, {"inputs": [tensor]})


def rpc(method: Any, request: Any) -> tuple[str, Handle]:
    async def handle(context: RequestContext) -> Any:
        context.bytes_in = len(request.SerializeToString())
        token = current.set(context)
        try:
            return await method(request, None)
        finally:
            current.reset(token)

    return "/", handle


def example(**values: float) -> tensor_pb.Example:
    feature = {name: tensor_pb.Feature(float_list=tensor_pb.FloatList(value=[one])) for name, one in values.items()}
    return tensor_pb.Example(features=tensor_pb.Features(feature=feature))


def examples(method: Any, kind: Any, model: str, **shared: float) -> tuple[str, Handle]:
    """Many examples: whole ones, or empty ones that share the values of a context."""
    if shared:
        listed = pb.ExampleListWithContext(examples=[tensor_pb.Example()] * ROWS, context=example(**shared))
        given = pb.Input(example_list_with_context=listed)
    else:
        given = pb.Input(example_list=pb.ExampleList(examples=[example(**ROW)] * ROWS))
    return rpc(method, kind(model_spec={"name": model}, input=given))


def typed(rows: int, model: str = "area") -> oip_pb2.ModelInferRequest:
    tensor = oip_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[rows, 2])
    tensor.contents.fp32_contents.extend([0.25, 1.5] * rows)
    return oip_pb2.ModelInferRequest(model_name=model, inputs=[tensor])


def predicted(model: str, array: Array) -> pb.PredictRequest:
    return pb.PredictRequest(model_spec={"name": model}, inputs={"x": encode(array)})


def form() -> tuple[str, Handle]:
    path, handle = "/predictions/area", TorchServeRoute(BACKEND, ITEMS).handle
    headers = {b"content-type": b"multipart/form-data; boundary=b"}
    body = b"--b\r\n\r\nx\r\n" * 60 + b'--b\r\nname="data"\r\n\r\n' + json.dumps(PAIRS).encode() + b"\r\n--b--"

    def ask(context: RequestContext) -> Coroutine[Any, Any, Any]:
        context.headers = headers
        return handle(context, body)

    return path, ask


def web_single() -> tuple[str, Handle]:
    columns = [{"name": name, "description": name, "example": 1.0} for name in ROW]
    told = Manifest.model_validate(
        {
            "name": "flowers", "version": "3", "task": "classification", "sha256": "0" * 64,
            "labels": ["rose", "daisy"],
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2], "features": columns}],
            "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 2]}],
        }
    )  # fmt: skip
    fake = flowers()
    model = ItemModel(**{**vars(fake), "manifest": told})
    route = PredictRoute(cast(Any, FakeBackend(model)), "flowers", ROWS)
    return "/predict", post(route, "/predict", {"instances": [ROW] * ROWS})


@dataclass
class FakePair:
    """A pair that gives each instance the same scores."""

    outputs = (TensorSpec("logits", "FP32", (-1, 3)),)
    properties: Mapping[str, str]

    async def infer(self, request: InferRequest[Any]) -> InferResponse:
        rows = len(request.inputs["instances"])
        return InferResponse({"logits": np.zeros((rows, 3), np.float32)}, "pair", "1")

    async def labels(self, context: RequestContext, version: str) -> list[str]:
        return ["red", "green", "blue"]


def prep_pred() -> tuple[str, Handle]:
    pairs: Any = SimpleNamespace(resolve=lambda name: FakePair({"kind": "values"}))
    route = RawInputRoute(pairs, 3)
    return "/predict/pair", post(route, "/predict/pair", {"instances": [ROW] * ROWS})


class Classifying:
    """A member of the ensemble that answers at once."""

    name = "one"

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata:
        inputs, outputs = TensorSpec("x", "FP32", (-1, 2)), TensorSpec("y", "FP32", (-1, 2))
        properties = {"features": '["length", "width"]', "labels": '["rose", "daisy"]'}
        return ModelMetadata("m", ("1",), (inputs,), (outputs,), properties)

    async def infer(
        self, inputs: Mapping[str, Array], *, outputs: Sequence[str] | None = None, **rest: Any
    ) -> PredictorResponse:
        return PredictorResponse({"y": np.full((len(inputs["x"]), 2), 0.5, np.float32)}, "m", "1")


async def ensemble() -> EnsembleRoute:
    member = Classifying()
    monitor = HealthMonitor({"one": member})
    await monitor.poll("one")
    return EnsembleRoute(
        Parallel(Ensemble(monitor, {"one": cast(PredictorClient, member)}, Limits()), "all", "via"), None, {}, ROWS
    )


def parallel(stream: bool) -> tuple[str, Handle]:
    body = json.dumps({"instances": [ROW] * ROWS}).encode()

    async def handle(context: RequestContext) -> Any:
        route = await ensemble()
        if not stream:
            return await route.handle(context, body)
        return [line async for line in await answer_lines(context, route, body, LINES)]

    return "/predict", handle


SERVICE = CapturedLog().service()
GRPC, TENSORS = PredictionService(BACKEND, SERVICE, ITEMS), InferenceService(BACKEND, SERVICE)
CASES: dict[str, Callable[[], tuple[str, Handle]]] = {
    "TorchServe, rows": lambda: torchserve("area", PAIRS),
    "TorchServe, form": form,
    "TorchServe, answer": lambda: torchserve("wide", [[1, 2]]),
    "TF Serving, rows": lambda: tfserving("area:predict", {"instances": PAIRS}),
    "TF Serving, named rows": lambda: tfserving("area:predict", {"instances": [{"x": one} for one in PAIRS]}),
    "TF Serving, column": lambda: tfserving("area:predict", {"inputs": PAIRS}),
    "TF Serving, texts": lambda: tfserving("texts:predict", {"instances": ["a text to read"] * 2 * ROWS}),
    "TF Serving, answer": lambda: tfserving("wide:predict", {"inputs": [[1, 2]]}),
    "TF Serving, examples": lambda: tfserving("area:regress", {"examples": [ROW] * ROWS}),
    "TF Serving, shared values": lambda: tfserving("area:regress", {"examples": [{}] * ROWS, "context": ROW}),
    "TF Serving, labels": lambda: tfserving("flowers:classify", {"examples": [{}] * ROWS, "context": ROW}),
    "TF Serving gRPC, rows": lambda: rpc(GRPC.Predict, predicted("area", np.zeros((100_000, 2), np.float32))),
    "TF Serving gRPC, answer": lambda: rpc(GRPC.Predict, predicted("wide", np.zeros((1, 2), np.float32))),
    "TF Serving gRPC, examples": lambda: examples(GRPC.Regress, pb.RegressionRequest, "area"),
    "TF Serving gRPC, shared values": lambda: examples(GRPC.Regress, pb.RegressionRequest, "area", **ROW),
    "TF Serving gRPC, labels": lambda: examples(GRPC.Classify, pb.ClassificationRequest, "flowers", **ROW),
    "OIP, rows": lambda: oip("area", ROWS),
    "OIP, answer": lambda: oip("wide", 1),
    "OIP gRPC, typed": lambda: rpc(TENSORS.ModelInfer, typed(100_000)),
    "web_single": web_single,
    "prep_pred": prep_pred,
    "parallel": lambda: parallel(False),
    "parallel, stream": lambda: parallel(True),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
async def test_the_event_loop_is_not_held(case: str) -> None:
    path, handle = CASES[case]()
    context = large_request(path)
    answer, share = await longest_share(handle(context))
    assert not isinstance(answer, Reply) or answer.status == 200
    assert share < LARGEST_SHARE
