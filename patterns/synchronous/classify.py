"""POST /classify: a JPEG or PNG as the body, its likeliest classes as the answer; or a job, where time is short."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from common import RELEASE
from common.endpoints.backend import InferRequest
from common.errors import InvalidInput, NotFound, UnsupportedMedia
from common.http.reply import Reply
from common.inference.executor import BoundedExecutor
from common.inference.onnx_backend import OnnxBackend
from common.inference.repository import LoadedModel
from common.jobs.http import HandOver
from common.jobs.record import JobInput, Result
from common.preprocessing.pictures import open_picture
from common.preprocessing.steps import Preparer, preparer
from common.protocol.json_body import Payload
from common.protocol.tensors import Array
from common.request.context import Headers, RequestContext
from common.request.disconnect import cancel_on_disconnect
from patterns.synchronous.settings import Settings

PATH = "/classify"
MEDIA = ("image/jpeg", "image/png", "application/octet-stream")
TOP, MOST = 5, 10


class Classifier:
    """From a picture's bytes to names, stage by stage, each timed."""

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
        del picture  # a job may wait long for the model, and needs the body no more
        waited = perf_counter() - began - decode - prepare
        context.stages |= {"decode": decode * 1e3, "prepare": prepare * 1e3}
        response = await self._backend.infer(InferRequest(context, model, inputs))
        context.stages["queue"] += waited * 1e3
        began = perf_counter()
        predictions = _likeliest(model, response.outputs, top)
        context.stages["postprocess"] = (perf_counter() - began) * 1e3
        for stage in ("decode", "prepare", "queue", "postprocess"):  # a run is counted where it is made
            self._seconds.labelled(model.name, model.version, stage).observe(context.stages[stage] / 1e3)
        made = {"model_name": response.model_name, "model_version": response.model_version, "release": RELEASE}
        return {"predictions": predictions, **made}

    def _preparer(self, model: LoadedModel) -> Preparer:
        """Compiled once for each version that is swapped in."""
        if self._compiled is None or self._compiled[0] is not model:
            if model.manifest.task != "image-classification":
                raise NotFound(f"model {model.name!r} takes no pictures; ask it through /v2/models/{model.name}/infer")
            self._compiled = (model, preparer(model.manifest))
        return self._compiled[1]


def _prepared(preparer: Preparer, body: Payload, max_pixels: int) -> tuple[dict[str, Array], float, float]:
    """The model's inputs, and the seconds of decoding and of the manifest's steps."""
    start = perf_counter()
    picture = open_picture(body, max_pixels)
    decoded = perf_counter()
    return preparer.prepare(picture), decoded - start, perf_counter() - decoded


def _likeliest(model: LoadedModel, outputs: Mapping[str, Array], top: int) -> list[dict[str, Any]]:
    """The `top` classes: as the graph names them where it does, else a softmax over its main output and the labels."""
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
    """POST /classify. It is the same for every model: the manifest says how pictures are prepared."""

    def __init__(self, hand_over: HandOver) -> None:
        self._hand_over = hand_over

    def match(self, path: str) -> bool:
        return path == PATH

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        context.route = PATH
        _check_media(context.headers)
        return await self._hand_over.reply(context, JobInput(body, {"top": str(_top(context.query))}))

    def document(self) -> dict[str, Any]:
        return {"paths": {PATH: {"post": _OPERATION}}, "components": {"schemas": {}}}


def _check_media(headers: Headers) -> None:
    given = headers.get(b"content-type", b"").decode("latin-1")
    if given.partition(";")[0].strip().lower() not in MEDIA:
        raise UnsupportedMedia.at("Content-Type", f"expected {' or '.join(MEDIA)}, got {given[:60]!r}")


def _top(query: bytes) -> int:
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("top", [str(TOP)])[-1]
    if not (given.isascii() and given.isdecimal() and len(given) < 4 and 1 <= int(given) <= MOST):
        raise InvalidInput.at("top", f"expected 1 to {MOST}, got {given[:40]!r}")
    return int(given)


_PICTURE = {
    "schema": {"type": "string", "format": "binary"},
    "examples": {"photo": {"summary": "a cat", "externalValue": "/samples/chelsea.jpg"}},
}
_REFUSALS = {400: "No whole picture", 413: "Too large", 415: "Not JPEG or PNG", 503: "Overloaded", 504: "Too slow"}
_OPERATION = {
    "tags": ["classify"],
    "summary": "Say what a photo shows",
    "description": "Too slow for the caller: 504, or with `Prefer: respond-async, wait=0.5` a job to ask about later.",
    "operationId": "classify",
    "parameters": [
        {"name": "top", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": MOST, "default": TOP}},
        {"name": "Prefer", "in": "header", "schema": {"type": "string", "examples": ["respond-async, wait=0.5"]}},
    ],
    "requestBody": {"required": True, "content": dict.fromkeys(MEDIA, _PICTURE)},
    "responses": {
        str(code): {"description": text}
        for code, text in {200: "The likeliest classes", 202: "Handed over as a job", **_REFUSALS}.items()
    },
}
