"""POST /classify: takes a JPEG or PNG file, returns the most probable classes, or a job when it takes too long."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from common import RELEASE
from common.endpoints.backend import InferRequest
from common.errors import InvalidInput, NotFound
from common.http.reply import Reply
from common.inference.executor import BoundedExecutor
from common.inference.onnx_backend import OnnxBackend
from common.inference.repository import LoadedModel
from common.jobs.http import HandOver
from common.jobs.record import JobInput, Result
from common.preprocessing.pictures import open_picture
from common.preprocessing.steps import Preparer, preparer
from common.protocol.json_body import Payload
from common.protocol.media import PICTURES, UNSPECIFIC, stated_media
from common.protocol.tensors import Array
from common.request.context import RequestContext
from common.request.disconnect import cancel_on_disconnect
from patterns.synchronous.settings import Settings

PATH = "/classify"
DEFAULT_TOP, MAX_TOP = 5, 10  # classes in a response


class Classifier:
    """Classifies an image file in stages, and measures the time of each stage."""

    def __init__(self, backend: OnnxBackend, executor: BoundedExecutor, settings: Settings) -> None:
        self._backend, self._seconds, self._executor = backend, backend.metrics.seconds, executor
        self._name, self._max_pixels = settings.models[0], settings.max_pixels
        self._compiled: tuple[LoadedModel, Preparer] | None = None

    async def classify(self, context: RequestContext, picture: JobInput) -> Result:
        """The body of the response; the parameter `top` is the number of classes in it.

        Raises InvalidInput when the body is not a picture, and whatever the backend raises.
        """
        model = self._backend.resolve(self._name)
        began = perf_counter()
        steps, most = self._preparer(model), self._max_pixels
        async with cancel_on_disconnect(context):
            inputs, decode, prepare = await self._executor.run(context.deadline, _prepared, steps, picture.body, most)
        top = int(picture.parameters["top"])
        del picture  # the file is not needed any more, and a job may wait long for the model
        waited = perf_counter() - began - decode - prepare
        context.stages |= {"decode": decode * 1e3, "prepare": prepare * 1e3}
        response = await self._backend.infer(InferRequest(context, model, inputs))
        context.stages["queue"] += waited * 1e3
        began = perf_counter()
        predictions = _most_probable(model, response.outputs, top)
        context.stages["postprocess"] = (perf_counter() - began) * 1e3
        for stage in ("decode", "prepare", "queue", "postprocess"):  # the batcher counts the run
            self._seconds.labelled(model.name, model.version, stage).observe(context.stages[stage] / 1e3)
        return {
            "predictions": predictions,
            "model_name": response.model_name,
            "model_version": response.model_version,
            "release": RELEASE,
        }

    def _preparer(self, model: LoadedModel) -> Preparer:
        """The preprocessing of a version, which is compiled at its first request."""
        if self._compiled is None or self._compiled[0] is not model:
            if model.manifest.task != "image-classification":
                raise NotFound(
                    f"model {model.name!r} does not classify images; send requests to /v2/models/{model.name}/infer"
                )
            self._compiled = (model, preparer(model.manifest))
        return self._compiled[1]


def _prepared(preparer: Preparer, body: Payload, max_pixels: int) -> tuple[dict[str, Array], float, float]:
    """The model's inputs, the seconds of decoding, and the seconds of the other preprocessing steps."""
    start = perf_counter()
    picture = open_picture(body, max_pixels)
    decoded = perf_counter()
    return preparer.prepare(picture), decoded - start, perf_counter() - decoded


def _most_probable(model: LoadedModel, outputs: Mapping[str, Array], top: int) -> list[dict[str, Any]]:
    """The `top` most probable classes: the graph's output `labels`, or else a softmax over its first output."""
    if "labels" in outputs:
        pairs = zip(outputs["labels"][0, :top], outputs["scores"][0, :top].tolist(), strict=True)
    else:
        logits = outputs[model.output_names[0]][0].astype(np.float64)
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        best = np.argsort(-shares)[:top]
        pairs = zip((model.manifest.labels[one] for one in best), shares[best].tolist(), strict=True)
    return [{"label": label, "probability": round(share, 6)} for label, share in pairs]


class ClassifyRoute:
    """POST /classify, for every model that classifies images: its manifest states the preprocessing."""

    def __init__(self, hand_over: HandOver) -> None:
        self._hand_over = hand_over

    def match(self, path: str) -> bool:
        return path == PATH

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        context.route = PATH
        stated_media(context.headers, PICTURES)
        return await self._hand_over.reply(context, JobInput(body, {"top": str(_top(context.query))}))

    def document(self) -> dict[str, Any]:
        return {"paths": {PATH: {"post": _OPERATION}}, "components": {"schemas": {}}}


def _top(query: bytes) -> int:
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("top", [str(DEFAULT_TOP)])[-1]
    if not (given.isascii() and given.isdecimal() and len(given) < 4 and 1 <= int(given) <= MAX_TOP):
        raise InvalidInput.at("top", f"expected 1 to {MAX_TOP}, got {given[:40]!r}")
    return int(given)


_PICTURE = {
    "schema": {"type": "string", "format": "binary"},
    "examples": {"photo": {"summary": "a cat", "externalValue": "/samples/chelsea.jpg"}},
}
_ERRORS = {
    400: "The image is not valid",
    413: "The image is too large",
    415: "Neither JPEG nor PNG",
    503: "Not ready or overloaded",
    504: "The deadline passed",
}
_OPERATION = {
    "tags": ["classify"],
    "summary": "Classify a photo",
    "description": "After the timeout: 504, or with `Prefer: respond-async, wait=0.5` a job that can be fetched later.",
    "operationId": "classify",
    "parameters": [
        {
            "name": "top",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_TOP, "default": DEFAULT_TOP},
        },
        {"name": "Prefer", "in": "header", "schema": {"type": "string", "examples": ["respond-async, wait=0.5"]}},
    ],
    "requestBody": {"required": True, "content": dict.fromkeys((*PICTURES, UNSPECIFIC[0]), _PICTURE)},
    "responses": {
        str(code): {"description": text}
        for code, text in {200: "The most probable classes", 202: "The request has become a job", **_ERRORS}.items()
    },
}
