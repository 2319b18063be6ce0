"""The pipeline: find the rotation of a page, find its lines, read them, and read uncertain lines a second time."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
import orjson
from PIL.Image import Image

from common.composition.flow import call, choose, in_order, side_by_side
from common.errors import (
    ClientDisconnected,
    InvalidInput,
    NotReady,
    ServingError,
    UpstreamFailed,
    UpstreamModelNotFound,
)
from common.inference.executor import BoundedExecutor
from common.preprocessing.pictures import decoded_bytes, open_picture
from common.protocol.json_body import Payload
from common.protocol.tensors import Array, TensorSpec
from common.request.context import RequestContext
from patterns.serial import images
from patterns.serial.images import RecognisedLine
from patterns.serial.memory import PictureMemory
from patterns.serial.releases import Release, Releases
from patterns.serial.settings import DETECTION, HEAVY, ORIENTATION, RECOGNITION, ReadingSettings

T = TypeVar("T")
ModelCall = Coroutine[Any, Any, list[Array]]
RECOGNISED = (TensorSpec("characters", "INT64", (-1, -1)), TensorSpec("confidence", "FP32", (-1, -1)))
OUTPUTS = {
    ORIENTATION: (TensorSpec("probabilities", "FP32", (1, len(images.TRANSPOSES))),),
    DETECTION: (TensorSpec("map", "FP32", (1, -1, -1)),),
    RECOGNITION: RECOGNISED,
    HEAVY: RECOGNISED,
}


@dataclass
class Page:
    """The state of one page in the pipeline. All its models are of one release.

    `reduced` is the image for the detection, `quarter_turns` the rotation that makes the page upright. Boxes are in
    pixels of the upright image. `left_out` is the number of lines beyond the limit, `uncertain` that of lines whose
    confidence is below the floor. `missing` names the predictors that could not be used, with the reasons.
    """

    picture: Image
    release: Release
    reduced: Array = field(init=False)
    quarter_turns: int = 0
    left_out: int = 0
    uncertain: int = 0
    lines: list[RecognisedLine] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class Pipeline:
    """Reads pages. Images are processed in threads, where possible while a model is called."""

    def __init__(
        self, settings: ReadingSettings, releases: Releases, executor: BoundedExecutor, memory: PictureMemory
    ) -> None:
        self._settings, self._releases, self._executor, self._memory = settings, releases, executor, memory

    async def read(self, context: RequestContext, body: Payload) -> Page:
        """Reads the page in a JPEG or PNG file, once there is memory for its pixels.

        Raises InvalidInput for a file that is not valid, Overloaded, NotReady, and the errors of required predictors.
        """
        most = self._settings.max_pixels
        size = await self._executor.run(context.deadline, decoded_bytes, body, most)
        async with self._memory.hold(context.deadline, size):
            picture = await self._executor.run(context.deadline, open_picture, body, most)
            return await self._read(context, picture)

    async def _read(self, context: RequestContext, picture: Image) -> Page:
        """Reads a decoded page.

        If a model of its release is unloaded meanwhile, the page is read once more with the current release.
        """
        steps = (self._orientation, self._detection, self._recognition, self._second_reading)
        for _ in range(2):
            page = Page(picture, await self._releases.current(context.deadline))
            try:
                await in_order(context, page, *steps)
                return page
            except UpstreamModelNotFound as error:
                reason = error.detail
                await self._releases.refresh()
        raise NotReady(f"release {page.release.version} is being replaced: {reason}", retry_after=1)

    async def _orientation(self, context: RequestContext, page: Page) -> Page:
        square = await self._executor.run(context.deadline, images.centre_square, page.picture)
        orientation = self._call(context, page, ORIENTATION, square)
        reduction = self._executor.run(context.deadline, images.reduce, page.picture)
        (probabilities,), page.reduced = await self._run_both(context, orientation, reduction)
        page.quarter_turns = choose(context, "turned", images.degrees(probabilities[0]), images.QUARTER_TURNS)
        return page

    async def _detection(self, context: RequestContext, page: Page) -> Page:
        detection = self._call(context, page, DETECTION, np.rot90(page.reduced, page.quarter_turns)[None])
        rotation = self._executor.run(context.deadline, images.rotate, page.picture, page.quarter_turns)
        (probabilities,), page.picture = await self._run_both(context, detection, rotation)
        limit, size = self._settings.max_lines, page.picture.size
        boxes, page.left_out = await self._executor.run(
            context.deadline, images.find_boxes, probabilities[0], size, limit
        )
        page.lines = [RecognisedLine(box) for box in boxes]
        return page

    async def _recognition(self, context: RequestContext, page: Page) -> Page:
        await self._recognise(context, page, page.lines, RECOGNITION)
        return page

    async def _second_reading(self, context: RequestContext, page: Page) -> Page:
        """Reads uncertain lines with the heavier model. Each line keeps the reading with the higher confidence.

        Lines that are still below the floor are left out and counted.
        When the heavier model cannot be used, the first readings are kept and `page.missing` has the reason.
        """
        unsure = [line for line in page.lines if line.confidence < self._settings.read_again_below]
        again = choose(context, "reading", "unsure" if unsure else "sure", {"unsure": unsure, "sure": []})
        second = [RecognisedLine(line.box, read_by=HEAVY) for line in again]
        try:
            if again and (reason := self._releases.unavailable(HEAVY)):
                raise NotReady(f"predictor {HEAVY} {reason}")  # otherwise every page would wait for its timeout
            await self._recognise(context, page, second, HEAVY, self._settings.read_again_within_seconds)
        except (ClientDisconnected, UpstreamModelNotFound):
            raise
        except ServingError as error:
            context.deadline.check("the first reading could be sent")
            page.missing[HEAVY] = error.detail
        better = [max(readings, key=attrgetter("confidence")) for readings in zip(again, second, strict=True)]
        kept = {line.box: line for line in [*page.lines, *better]}
        texts = [line for line in kept.values() if line.text]
        page.lines = [line for line in texts if line.confidence >= self._settings.min_confidence]
        page.uncertain = len(texts) - len(page.lines)
        return page

    async def _recognise(
        self, context: RequestContext, page: Page, lines: list[RecognisedLine], stage: str, seconds: float | None = None
    ) -> None:
        """Sets text and confidence of the lines, with one call for each group.

        `seconds`, if given, limits the calls to that time, and to 80 % of the remaining time. While a model reads one
        group, a thread decodes the previous group and crops the next one; the empty last group ends the loop.
        """
        remaining = context.deadline.remaining
        end = context.deadline.capped(remaining if seconds is None else min(seconds, 0.8 * remaining))
        groups = [*images.group_by_width(lines), []]
        previous = RecognisedGroup(page, stage, [], [])
        crops = await self._decode_and_crop(context, previous, groups[0])
        for group, following in pairwise(groups):
            recognition = self._call(context, page, stage, crops, end.remaining)
            outputs, crops = await self._run_both(
                context, recognition, self._decode_and_crop(context, previous, following)
            )
            previous = RecognisedGroup(page, stage, group, outputs)
        previous.decode()

    async def _decode_and_crop(
        self, context: RequestContext, previous: RecognisedGroup, following: list[RecognisedLine]
    ) -> Array:
        """Decodes the previous group, and crops the lines of the following one."""
        previous.decode()
        return await self._executor.run(context.deadline, images.crop_lines, previous.page.picture, following)

    async def _call(
        self, context: RequestContext, page: Page, stage: str, image: Array, within: float | None = None
    ) -> list[Array]:
        """The outputs of a stage's model. Raises UpstreamFailed for a model with other inputs or outputs."""
        if (model := page.release.models.get(stage)) is None:
            raise NotReady(
                f"predictor {stage} was not available when the reading of this page started; send the request again"
            )
        try:
            names = [spec.name for spec in OUTPUTS[stage]]
            response = await call(context, model.predictor, {"image": image}, outputs=names, timeout_seconds=within)
            for spec in OUTPUTS[stage]:
                spec.check(response.outputs[spec.name], spec.name)
        except InvalidInput as error:
            raise UpstreamFailed(
                f"predictor {stage}: model {model.metadata.name} does not have the inputs and outputs that this stage "
                f"needs: {error.detail}"
            ) from None
        page.models[stage] = f"{response.model_name}/{response.model_version}"
        return [response.outputs[name] for name in names]

    async def _run_both(
        self, context: RequestContext, model_call: ModelCall, work: Coroutine[Any, Any, T]
    ) -> tuple[list[Array], T]:
        """Calls a model and does some work at the same time. Returns the outputs, and the result of the work."""
        both: dict[str, Any] = {"call": model_call, "work": work}
        results = (await side_by_side(context, both)).answers
        return results["call"], results["work"]


@dataclass
class RecognisedGroup:
    """A group of lines, and the outputs of the recogniser for them, which are not decoded yet."""

    page: Page
    stage: str
    lines: list[RecognisedLine]
    outputs: list[Array]

    def decode(self) -> None:
        """Sets text and confidence of the lines."""
        if not self.lines:
            return
        metadata = self.page.release.models[self.stage].metadata
        try:
            characters, confidences = self.outputs
            if not np.isfinite(confidences).all():
                raise UpstreamFailed(f"predictor {self.stage} answered with confidences that are NaN or infinity")
            texts = images.decode_texts(characters, confidences, _alphabet(metadata.properties.get("labels", "[]")))
        except IndexError:
            raise UpstreamFailed(
                f"predictor {self.stage} answered with character indices beyond the labels of {metadata.name}"
            ) from None
        for line, (text, confidence) in zip(self.lines, texts, strict=True):
            line.text, line.confidence = text, confidence


@lru_cache(8)
def _alphabet(labels: str) -> list[str]:
    """The labels of a model. They are cached, because they are the same for each request."""
    alphabet: list[str] = orjson.loads(labels)
    return alphabet
