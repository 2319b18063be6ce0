"""POST /classify: takes a picture or named values, returns the most probable classes, or a job if it takes too long."""

from __future__ import annotations

from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

from common import RELEASE
from common.endpoints.backend import InferenceBackend, InferRequest
from common.endpoints.labels import most_probable
from common.errors import InvalidInput, NotFound, NotReady
from common.http.reply import Reply
from common.inference.repository import LoadedModel
from common.jobs.http import HandOver
from common.jobs.record import JobInput, Result
from common.observability.metrics import Histogram
from common.preprocessing.items import ItemPreparer
from common.protocol.json_body import Payload
from common.protocol.media import JSON, PICTURES, UNSPECIFIC, stated_media
from common.request.context import RequestContext
from patterns.synchronous.settings import Settings

PATH = "/classify"
MEDIA = {"picture": PICTURES, "values": (JSON,), "text": ("text/plain",)}
DEFAULT_TOP, MAX_TOP = 5, 10  # classes in a response


class Classifier:
    """Classifies one item, in stages, and measures the time of each stage. The model says what an item is."""

    def __init__(
        self,
        backend: InferenceBackend[LoadedModel],
        stage_seconds: Histogram,
        items: ItemPreparer,
        settings: Settings,
    ) -> None:
        self._backend, self._seconds, self._items = backend, stage_seconds, items
        self._name = settings.models[0]

    def media(self) -> tuple[str, ...]:
        """The content types that the model takes. Raises NotReady, and NotFound for a model that is no classifier."""
        model = self._backend.resolve(self._name)
        kind = self._items.kind(model)
        if kind is None or not model.manifest.task.endswith("classification"):
            raise NotFound(
                f"model {model.name!r} does not classify single items; send requests to /v2/models/{model.name}/infer"
            )
        return MEDIA[kind]

    def document_body(self) -> dict[str, Any]:
        """The request bodies in the documentation, by content type; those of pictures while the model is not ready."""
        try:
            media = self.media()
        except (NotReady, NotFound):
            media = PICTURES
        if media == PICTURES:
            return dict.fromkeys((*PICTURES, UNSPECIFIC[0]), _PICTURE)
        model = self._backend.resolve(self._name)
        features = {one.name: one.example or 0.0 for one in model.manifest.inputs[0].features}
        return {one: {"schema": {}, **({"example": features} if features else {})} for one in media}

    def read(self, context: RequestContext, body: Payload) -> JobInput:
        """What a request gives. Raises InvalidInput for its content type or its query, NotReady, NotFound."""
        stated_media(context.headers, self.media())
        return JobInput(body, {"top": str(_top(context.query))})

    def operation(self) -> dict[str, Any]:
        """What a request takes, in the documentation."""
        return {
            "requestBody": {"required": True, "content": self.document_body()},
            "parameters": [_TOP],
        }

    async def classify(self, context: RequestContext, item: JobInput) -> Result:
        """The body of the response; the parameter `top` is the number of classes in it.

        Raises InvalidInput when the body is not what the model takes, and whatever the backend raises.
        """
        model = self._backend.resolve(self._name)
        inputs = await self._items.prepare(context, model, item.body)
        top, waited = int(item.parameters["top"]), context.stages.pop("queue")
        del item  # the file is not needed any more, and a job may wait long for the model
        response = await self._backend.infer(InferRequest(context, model, inputs))
        context.stages["queue"] = context.stages.get("queue", 0.0) + waited
        began = perf_counter()
        predictions = most_probable(model, response.outputs, top)
        context.stages["postprocess"] = (perf_counter() - began) * 1e3
        for stage in ("decode", "prepare", "queue", "postprocess"):  # the batcher counts the run
            self._seconds.labelled(model.name, model.version, stage).observe(context.stages[stage] / 1e3)
        return {
            "predictions": [{"label": label, "probability": round(share, 6)} for label, share in predictions],
            "model_name": response.model_name,
            "model_version": response.model_version,
            "release": RELEASE,
        }


class ClassifyRoute:
    """POST /classify, for every classifier whose manifest states what an item is and how to prepare it."""

    def __init__(self, classifier: Classifier, hand_over: HandOver) -> None:
        self._classifier, self._hand_over = classifier, hand_over

    def match(self, path: str) -> bool:
        return path == PATH

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        context.route = PATH
        return await self._hand_over.reply(context, self._classifier.read(context, body))

    def document(self) -> dict[str, Any]:
        body = {"required": True, "content": self._classifier.document_body()}
        return {"paths": {PATH: {"post": {**_OPERATION, "requestBody": body}}}, "components": {"schemas": {}}}


def _top(query: bytes) -> int:
    parameters = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    if others := sorted(parameters.keys() - {"top"}):
        raise InvalidInput.at(others[0][:40], f"is not a parameter of {PATH}; expected only top, 1 to {MAX_TOP}")
    given = parameters.get("top", [str(DEFAULT_TOP)])[-1]
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
_TOP = {
    "name": "top",
    "in": "query",
    "schema": {"type": "integer", "minimum": 1, "maximum": MAX_TOP, "default": DEFAULT_TOP},
}
_OPERATION = {
    "tags": ["classify"],
    "summary": "Classify a photo, or named values",
    "description": "After the timeout: 504, or with `Prefer: respond-async, wait=0.5` a job that can be fetched later.",
    "operationId": "classify",
    "parameters": [
        _TOP,
        {"name": "Prefer", "in": "header", "schema": {"type": "string", "examples": ["respond-async, wait=0.5"]}},
    ],
    "responses": {
        str(code): {"description": text}
        for code, text in {200: "The most probable classes", 202: "The request has become a job", **_ERRORS}.items()
    },
}
