"""Many texts, each of which is converted by itself, are converted beside the event loop by proxies and predictors."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from common.client import PredictorClient
from common.endpoints.backend import InferRequest, InferResponse
from common.inference.batching import RunResult
from common.inference.onnx_backend import OnnxBackend
from common.protocol.grpc import oip_pb2 as pb
from common.protocol.oip import DecodedRequest, encode_response
from common.protocol.tensors import Array, split_bytes, to_binary
from common.protocol.values import as_text
from common.request.context import RequestContext, current
from tests.unit.common.client.http_predictor import HttpPredictor, Request
from tests.unit.common.client.test_client_grpc import Context, GrpcPredictor
from tests.unit.patterns.loop_share import large_request, longest_piece

COUNT = 100_000
TEXTS: Array = np.array([b"a text of some words"] * COUNT, object)
RAW = to_binary(TEXTS)
BODY, HEADER = encode_response(DecodedRequest({}, all_binary=True), "m", "1", {"y": TEXTS})


def seconds(work: Any, *arguments: Any) -> float:
    """The processor time of a call, which the event loop must not spend."""
    start = time.thread_time()
    work(*arguments)
    return time.thread_time() - start


async def answer(request: Request) -> None:
    await request.answer(200, BODY, Inference_Header_Content_Length=HEADER)


async def answer_rpc(_: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
    output = pb.ModelInferResponse.InferOutputTensor(name="y", datatype="BYTES", shape=[COUNT])
    return pb.ModelInferResponse(outputs=[output], raw_output_contents=[RAW])


async def asked(url: str) -> float:
    """The longest piece on the event loop of a call to a predictor with many texts in both directions."""

    async def ask(context: RequestContext) -> Any:
        current.set(context)  # of this task
        async with PredictorClient(url, model="m") as client:
            return await client.infer({"x": TEXTS}, deadline=context.deadline)

    response, longest = await longest_piece(ask(large_request("/")))
    assert response.outputs["y"].shape == (COUNT,)
    return longest


async def test_a_proxy_encodes_and_decodes_them_beside_the_event_loop() -> None:
    limit = 0.5 * min(seconds(to_binary, TEXTS), seconds(split_bytes, RAW, COUNT, ""))
    http, rpc = HttpPredictor(), GrpcPredictor()
    http.usual, rpc.usual = answer, answer_rpc
    async with http.running(), rpc.running():
        assert await asked(http.url) < limit
        assert await asked(rpc.url) < limit


async def test_a_predictor_converts_them_to_text_beside_the_event_loop() -> None:
    def submit(inputs: dict[str, Array], *_: object) -> asyncio.Future[RunResult]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(RunResult([inputs["x"][:1]], 0.0, 0.0))
        return future

    batcher = SimpleNamespace(submit=submit, slow=lambda rows: False)
    model: Any = SimpleNamespace(name="m", version="1", texts=["x"], output_names=["y"], batcher=batcher)
    backend = OnnxBackend(SimpleNamespace(get=None), None, None)  # type: ignore[arg-type]  # what `infer` uses

    async def infer(context: RequestContext) -> InferResponse:
        current.set(context)
        return await backend.infer(InferRequest(context, model, {"x": TEXTS}))

    response, longest = await longest_piece(infer(large_request("/")))
    assert response.outputs["y"].tolist() == ["a text of some words"]
    assert longest < 0.5 * seconds(as_text, TEXTS, "x")
