"""The two APIs to read a page: POST /read with a file, and the model `serial` of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
import orjson

from common import RELEASE
from common.composition.predictor_health import HealthMonitor
from common.endpoints.backend import InferRequest, InferResponse
from common.http.reply import Reply
from common.inference.executor import BoundedExecutor
from common.observability.metrics import Histogram
from common.protocol.json_body import Payload
from common.protocol.media import PICTURES, stated_media
from common.protocol.tensors import Array, TensorSpec
from common.request.context import RequestContext
from common.request.disconnect import cancel_on_disconnect
from common.service import Service
from patterns.serial.memory import MAX_PICTURE_BYTES, PictureMemory
from patterns.serial.pipeline import Page, Pipeline
from patterns.serial.releases import Releases, VersionedPredictor
from patterns.serial.settings import HEAVY, ReadingSettings

PATH = "/read"


class Reader:
    """The model `serial`. Its input is the file of a page, as one BYTES element; its outputs are the lines.

    A box is left, top, right, bottom, in pixels of the upright image.
    """

    name, version = "serial", "1"
    inputs: ClassVar = [TensorSpec("image", "BYTES", (1,))]
    outputs: ClassVar = [
        TensorSpec("texts", "BYTES", (-1,)),
        TensorSpec("confidences", "FP32", (-1,)),
        TensorSpec("boxes", "FP32", (-1, 4)),
        TensorSpec("read_by", "BYTES", (-1,)),
    ]
    properties: Mapping[str, str] = {"unit": "pixels of the upright picture"}
    example: Mapping[str, Any] = {}

    def __init__(
        self,
        service: Service,
        settings: ReadingSettings,
        monitor: HealthMonitor,
        predictors: Mapping[str, VersionedPredictor],
    ) -> None:
        self.executor = BoundedExecutor(settings.picture_threads, settings.picture_queue, service.metrics)
        releases = Releases(monitor, predictors, optional={HEAVY})
        refused = service.metrics.rejected.labelled("preparing_full")
        memory = PictureMemory(MAX_PICTURE_BYTES, settings.picture_queue, refused)
        self._pipeline = Pipeline(settings, releases, self.executor, memory)
        service.health.add_readiness_check(releases.unready)
        self._own = Histogram(
            service.metrics.registry, "serving_own_duration_seconds", "Time of a request that no predictor took.", ()
        )

    async def read(self, context: RequestContext, body: Payload) -> Page:
        """Reads a page. The stage `own` is the time that no predictor took."""
        page = await self._pipeline.read(context, body)
        own = perf_counter() - context.started - sum(context.stages.values()) / 1e3
        context.stages["own"] = own * 1e3
        self._own.labelled().observe(own)
        return page

    def unavailable_reason(self) -> str | None:
        """None, because the inputs and outputs of this model do not depend on its predictors."""
        return None

    async def infer(self, request: InferRequest[Any]) -> InferResponse:
        """Reads a page. The response parameters are the models' release, the rotation and the uncertain lines."""
        page = await self.read(request.context, request.inputs["image"][0])
        turned = int(request.context.choices["turned"])
        outputs: dict[str, Array] = {
            "texts": np.array([line.text.encode() for line in page.lines], object),
            "confidences": np.array([line.confidence for line in page.lines], np.float32),
            "boxes": np.array([line.box for line in page.lines], np.float32).reshape(-1, 4),
            "read_by": np.array([line.read_by.encode() for line in page.lines], object),
        }
        parameters = {"model_release": page.release.version, "turned": turned, "uncertain": page.uncertain}
        return InferResponse(outputs, self.name, self.version, parameters)


class ReadRoute:
    """POST /read: a JPEG or PNG file as the body."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def match(self, path: str) -> bool:
        return path == PATH

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        context.route, context.model = PATH, Reader.name
        stated_media(context.headers, PICTURES)
        async with cancel_on_disconnect(context):
            page = await self._reader.read(context, body)
        width, height = page.picture.size
        content = {
            "lines": page.lines,
            "left_out": page.left_out,
            "uncertain": page.uncertain,
            "missing": page.missing,
            "turned": int(context.choices["turned"]),
            "width": width,
            "height": height,
            "choices": context.choices,
            "models": page.models,
            "model_release": page.release.version,
            "release": RELEASE,
        }
        return Reply(200, orjson.dumps(content))

    def document(self) -> dict[str, Any]:
        picture = {"schema": {"type": "string", "format": "binary"}}
        answers = {
            200: "The lines from top to bottom, each with its box in pixels of the upright picture",
            400: "No picture, or a damaged one",
            413: "Too large",
            415: "Neither JPEG nor PNG",
            502: "A model failed; the answer names it",
            503: "Not ready, or too much to do",
            504: "Out of time",
        }
        operation = {
            "tags": ["read"],
            "summary": "Read a page",
            "operationId": "read",
            "requestBody": {"required": True, "content": dict.fromkeys(PICTURES, picture)},
            "responses": {str(code): {"description": text} for code, text in answers.items()},
        }
        return {"paths": {PATH: {"post": operation}}, "components": {"schemas": {}}}
