"""Follows a proxy's predictors: which of them answer, and what each says of its model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from common.client import ModelMetadata
from common.errors import ServingError
from common.request.deadline import Deadline

FAST_POLL_SECONDS = 0.1  # until the first response, and after a first failure
POLL_SECONDS = 1.0
TIMEOUT_SECONDS = 1.0  # for one response


class HasMetadata(Protocol):
    """What tells of its model: a `PredictorClient`, or a model of this process."""

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata: ...


class HealthMonitor:
    """Polls each predictor for its metadata in the background.

    `metadata` is what each predictor said last; it is kept while the predictor is unavailable. `unavailable` has the
    reason for each predictor that does not answer. A predictor that has answered before becomes unavailable after two
    failures in a row, since one may come from a busy machine. What is derived from `metadata` subscribes with
    `on_change`, so that it follows as soon as a predictor says something else.
    """

    def __init__(self, predictors: Mapping[str, HasMetadata]) -> None:
        self._predictors = predictors
        self.metadata: dict[str, ModelMetadata] = {}
        self.unavailable: dict[str, str] = dict.fromkeys(predictors, "has not answered yet")
        self._failures = dict.fromkeys(predictors, 0)  # in a row
        self._subscribers: list[Callable[[], None]] = []

    def on_change(self, subscriber: Callable[[], None]) -> None:
        """Calls `subscriber` whenever a predictor's metadata has become another."""
        self._subscribers.append(subscriber)

    def unready(self, needed: int | None = None) -> str | None:
        """Why fewer than `needed` predictors (all when None) can answer; None when enough can."""
        available = len(self._predictors) - len(self.unavailable)
        if available >= (len(self._predictors) if needed is None else needed):
            return None
        return "; ".join(f"predictor {name} {reason}" for name, reason in self.unavailable.items())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Polls until it is left."""
        tasks = [asyncio.create_task(self._follow(name)) for name in self._predictors]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def poll(self, name: str) -> None:
        """Asks one predictor now."""
        try:
            found = await self._predictors[name].metadata(deadline=Deadline.after(TIMEOUT_SECONDS))
        except ServingError as error:
            self._failures[name] += 1
            if self._failures[name] > 1 or name not in self.metadata:
                reason = error.detail.removeprefix(f"predictor {name}").lstrip(": ")
                self.unavailable[name] = f"cannot answer: {reason}"
            return
        self.unavailable.pop(name, None)
        self._failures[name] = 0
        if self.metadata.get(name) != found:
            self.metadata[name] = found
            for subscriber in self._subscribers:
                subscriber()

    async def _follow(self, name: str) -> None:
        while True:
            await self.poll(name)
            in_doubt = name not in self.metadata or self._failures[name] == 1
            await asyncio.sleep(FAST_POLL_SECONDS if in_doubt else POLL_SECONDS)
