"""The pipeline, as its drawing has it: which way up, where is text, what does it say, and again what is unsure."""

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
from common.preprocessing.pictures import open_picture
from common.protocol.json_body import Payload
from common.protocol.tensors import Array, TensorSpec
from common.request.context import RequestContext
from patterns.serial import pixels
from patterns.serial.pixels import Line
from patterns.serial.releases import Release, Releases
from patterns.serial.settings import DETECTION, HEAVY, ORIENTATION, RECOGNITION, ReadingSettings

T = TypeVar("T")
Asked = Coroutine[Any, Any, list[Array]]
READ = (TensorSpec("characters", "INT64", (-1, -1)), TensorSpec("confidence", "FP32", (-1, -1)))
OUTPUTS = {
    ORIENTATION: (TensorSpec("probabilities", "FP32", (1, len(pixels.BACK))),),
    DETECTION: (TensorSpec("map", "FP32", (1, -1, -1)),),
    RECOGNITION: READ,
    HEAVY: READ,
}


@dataclass
class Page:
    """A picture on its way from model to model, all of one release; boxes are those of the upright picture."""

    picture: Image
    release: Release
    small: Array = field(init=False)
    turned: int = 0
    left_out: int = 0
    lines: list[Line] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class Pipeline:
    """Reads pages; the work on pictures is done in threads, as far as possible while a model is being asked."""

    def __init__(self, settings: ReadingSettings, releases: Releases, executor: BoundedExecutor) -> None:
        self._settings, self._releases, self._executor = settings, releases, executor

    async def read(self, context: RequestContext, body: Payload) -> Page:
        """The page in a JPEG or PNG file. Where its release is let go meanwhile, it is read anew, once."""
        picture = await self._executor.run(context.deadline, open_picture, body, self._settings.max_pixels)
        steps = (self._orientation, self._detection, self._recognition, self._second_reading)
        for _ in range(2):
            page = Page(picture, await self._releases.current(context.deadline))
            try:
                await in_order(context, page, *steps)
                return page
            except UpstreamModelNotFound as error:
                gone = error.detail
                await self._releases.renew()
        raise NotReady(f"release {page.release.version} is being replaced: {gone}", retry_after=1)

    async def _orientation(self, context: RequestContext, page: Page) -> Page:
        view = await self._executor.run(context.deadline, pixels.middle, page.picture)
        asked = self._ask(context, page, ORIENTATION, view)
        fitting = self._executor.run(context.deadline, pixels.fitted, page.picture)
        (chances,), page.small = await self._meanwhile(context, asked, fitting)
        page.turned = choose(context, "turned", pixels.turned(chances[0]), pixels.TURNS)
        return page

    async def _detection(self, context: RequestContext, page: Page) -> Page:
        asked = self._ask(context, page, DETECTION, np.rot90(page.small, page.turned)[None])
        turning = self._executor.run(context.deadline, pixels.upright, page.picture, page.turned)
        (likely,), page.picture = await self._meanwhile(context, asked, turning)
        most, size = self._settings.max_lines, page.picture.size
        boxes, page.left_out = await self._executor.run(context.deadline, pixels.boxes, likely[0], size, most)
        page.lines = [Line(box) for box in boxes]
        return page

    async def _recognition(self, context: RequestContext, page: Page) -> Page:
        await self._read(context, page, page.lines, RECOGNITION)
        return page

    async def _second_reading(self, context: RequestContext, page: Page) -> Page:
        """By the heavier model, of what is unsure. The surer reading of each line stands; without it, the first."""
        unsure = [line for line in page.lines if line.confidence < self._settings.read_again_below]
        again = choose(context, "reading", "unsure" if unsure else "sure", {"unsure": unsure, "sure": []})
        seconds = [Line(line.box, read_by=HEAVY) for line in again]
        try:
            if again and (away := self._releases.away(HEAVY)):
                raise NotReady(f"predictor {HEAVY} {away}")  # without waiting for it anew with every page
            await self._read(context, page, seconds, HEAVY, self._settings.read_again_within_seconds)
        except (ClientDisconnected, UpstreamModelNotFound):
            raise
        except ServingError as error:
            context.deadline.check("the first reading could be sent")
            page.missing[HEAVY] = error.detail
        surer = [max(both, key=attrgetter("confidence")) for both in zip(again, seconds, strict=True)]
        stands = {line.box: line for line in [*page.lines, *surer]}
        page.lines = [line for line in stands.values() if line.text]
        return page

    async def _read(
        self, context: RequestContext, page: Page, lines: list[Line], stage: str, within: float | None = None
    ) -> None:
        """Fills in what the lines say, a group in one call; `within` seconds, and leaving some time to answer in."""
        left = context.deadline.remaining
        end = context.deadline.capped(left if within is None else min(within, 0.8 * left))
        groups = [*pixels.groups(lines), []]
        read = Read(page, stage, [], [])
        strips = await self._prepare(context, read, groups[0])
        for group, following in pairwise(groups):
            asked = self._ask(context, page, stage, strips, end.remaining)
            answer, strips = await self._meanwhile(context, asked, self._prepare(context, read, following))
            read = Read(page, stage, group, answer)
        read.fill_in()

    async def _prepare(self, context: RequestContext, read: Read, following: list[Line]) -> Array:
        """The strips that are read next, once what was read last is understood."""
        read.fill_in()
        return await self._executor.run(context.deadline, pixels.strips, read.page.picture, following)

    async def _ask(
        self, context: RequestContext, page: Page, stage: str, images: Array, within: float | None = None
    ) -> list[Array]:
        """A stage's outputs; UpstreamFailed where it does not take or give what the model for it does."""
        if (part := page.release.parts.get(stage)) is None:
            raise NotReady(f"predictor {stage} was not there when this page's turn came")
        try:
            names = [spec.name for spec in OUTPUTS[stage]]
            answer = await call(context, part.predictor, {"image": images}, outputs=names, timeout_seconds=within)
            for spec in OUTPUTS[stage]:
                spec.check(answer.outputs[spec.name], spec.name)
        except InvalidInput as error:
            raise UpstreamFailed(f"predictor {stage} is no model for that, {part.told.name}: {error.detail}") from None
        page.models[stage] = f"{answer.model_name}/{answer.model_version}"
        return [answer.outputs[name] for name in names]

    async def _meanwhile(
        self, context: RequestContext, asked: Asked, work: Coroutine[Any, Any, T]
    ) -> tuple[list[Array], T]:
        """A model's answer, and what is done while it is under way."""
        both: dict[str, Any] = {"asked": asked, "work": work}
        done = (await side_by_side(context, both)).answers
        return done["asked"], done["work"]


@dataclass
class Read:
    """A group of lines, and what a recogniser has answered for them."""

    page: Page
    stage: str
    lines: list[Line]
    answer: list[Array]

    def fill_in(self) -> None:
        """Notes in the lines what they say."""
        if not self.lines:
            return
        part = self.page.release.parts[self.stage]
        try:
            characters, sure = self.answer
            texts = pixels.texts(characters, sure, _alphabet(part.told.properties.get("labels", "[]")))
        except IndexError:
            raise UpstreamFailed(
                f"predictor {self.stage} answered with characters that {part.told.name} does not have"
            ) from None
        for line, (text, confidence) in zip(self.lines, texts, strict=True):
            line.text, line.confidence = text, confidence


@lru_cache(8)
def _alphabet(labels: str) -> list[str]:
    """The model's labels, which are the same in each request."""
    alphabet: list[str] = orjson.loads(labels)
    return alphabet
