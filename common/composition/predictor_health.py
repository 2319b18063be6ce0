"""Watches a proxy's predictors: who answers, with which versions, and what each says of its model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from common.client import ModelMetadata
from common.errors import ServingError
from common.request.deadline import Deadline

_SOON, _USUAL = 0.1, 1.0  # seconds between looks: until the first answer and after a first miss; otherwise
_PATIENCE = 1.0  # seconds that a predictor may take to tell of itself


class HasMetadata(Protocol):
    """What tells of its model: a `PredictorClient`, or a model of this process."""

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata: ...


class HealthMonitor:
    """Asks each predictor for its metadata, again and again.

    `metadata` is what each last said, kept while it is away; `unavailable` says of each that is away why. One that has
    answered before is away after two misses in a row: a busy machine makes one of them now and then.
    """

    def __init__(self, predictors: Mapping[str, HasMetadata]) -> None:
        self._predictors = predictors
        self.metadata: dict[str, ModelMetadata] = {}
        self.unavailable: dict[str, str] = dict.fromkeys(predictors, "has not answered yet")
        self._missed = dict.fromkeys(predictors, 0)  # looks in a row

    def unready(self, needed: int | None = None) -> str | None:
        """Why fewer than `needed` predictors (all when None) can answer; None when enough can."""
        there = len(self._predictors) - len(self.unavailable)
        if there >= (len(self._predictors) if needed is None else needed):
            return None
        return "; ".join(f"predictor {name} {reason}" for name, reason in self.unavailable.items())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Goes on until left."""
        rounds = [asyncio.create_task(self._follow(name)) for name in self._predictors]
        try:
            yield
        finally:
            for task in rounds:
                task.cancel()
            await asyncio.gather(*rounds, return_exceptions=True)

    async def poll(self, name: str) -> None:
        """Asks one predictor now."""
        try:
            self.metadata[name] = await self._predictors[name].metadata(deadline=Deadline.after(_PATIENCE))
            self.unavailable.pop(name, None)
            self._missed[name] = 0
        except ServingError as error:
            self._missed[name] += 1
            if self._missed[name] > 1 or name not in self.metadata:
                what = error.detail.removeprefix(f"predictor {name}").lstrip(": ")
                self.unavailable[name] = f"cannot answer: {what}"

    async def _follow(self, name: str) -> None:
        while True:
            await self.poll(name)
            in_doubt = name not in self.metadata or self._missed[name] == 1
            await asyncio.sleep(_SOON if in_doubt else _USUAL)
