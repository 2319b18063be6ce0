"""What can never fit into the memory of all requests is too large; what does not fit now may be sent again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from common.endpoints.oip_grpc import InferenceService
from common.endpoints.oip_rest import InferRoute
from common.errors import Overloaded, PayloadTooLarge
from common.observability.metrics import Metrics
from common.protocol.grpc import oip_pb2 as pb
from common.protocol.tensors import TensorSpec
from common.request.capacity import Capacity
from common.request.context import RequestContext, current
from common.request.deadline import Deadline
from common.request.trace import continue_trace
from tests.unit.common.endpoints.fake_backend import FakeBackend, FakeModel
from tests.unit.common.observability.captured_log import CapturedLog

ALL = 1_000_000
ELEMENTS = 200_000  # FP32: 800 KB as binary data, and more than ALL as JSON
SETTING = "MAX_BUFFERED_BYTES allows 1000000 for all requests together"


def request(capacity: Capacity | None = None) -> RequestContext:
    bounds = capacity or Capacity(10 * ALL, ALL, 100, Metrics())
    path, trace = "/v2/models/many/infer", continue_trace(None)
    return RequestContext("POST", path, "id", trace, Deadline.after(20), capacity=bounds)


def test_a_request_that_needs_more_than_all_by_itself_is_too_large() -> None:
    capacity = Capacity(10 * ALL, ALL, 100, Metrics())
    one = request(capacity)
    one.hold(600_000)
    with pytest.raises(PayloadTooLarge, match=SETTING):
        one.hold(500_000)
    one.body_held = 300_000
    capacity.hold(300_000)
    with pytest.raises(PayloadTooLarge, match="need about 1100000 bytes"):
        one.hold(200_000)
    with pytest.raises(PayloadTooLarge, match=SETTING):
        Capacity(10 * ALL, ALL, 100, Metrics()).check_size(2 * ALL)


def test_a_request_that_would_fit_alone_may_be_sent_again() -> None:
    capacity = Capacity(10 * ALL, ALL, 100, Metrics())
    request(capacity).hold(600_000)
    with pytest.raises(Overloaded, match="retry later"):
        request(capacity).hold(500_000)


def many() -> FakeModel:
    values = np.full((1, ELEMENTS), 0.12345678, np.float32)
    specs = [TensorSpec("x", "FP32", (-1, 1))], [TensorSpec("y", "FP32", (-1, ELEMENTS))]
    return FakeModel("many", *specs, lambda _: {"y": values})


def question(binary: bool) -> bytes:
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}
    return json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": binary}}).encode()


async def test_binary_answers_count_their_bytes_and_json_what_it_takes() -> None:
    route, context = InferRoute(FakeBackend(many())), request()
    answer = await route.handle(context, question(True))
    assert context.held == len(answer.body) > 4 * ELEMENTS
    with pytest.raises(PayloadTooLarge, match=SETTING):
        await route.handle(request(), question(False))


async def test_answers_over_grpc_count_their_bytes() -> None:
    context = request()
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 1])
    asked = pb.ModelInferRequest(model_name="many", inputs=[tensor], raw_input_contents=[bytes(4)])
    token = current.set(context)
    try:
        nobody: Any = None
        answer = await InferenceService(FakeBackend(many()), CapturedLog().service()).ModelInfer(asked, nobody)
    finally:
        current.reset(token)
    assert isinstance(answer, bytes)
    assert context.held == len(answer) > 4 * ELEMENTS


async def test_json_counts_its_real_size_once_it_is_known() -> None:
    context = request(Capacity(100 * ALL, 100 * ALL, 100, Metrics()))
    answer = await InferRoute(FakeBackend(many())).handle(context, question(False))
    assert context.held == len(answer.body) < 15 * ELEMENTS
