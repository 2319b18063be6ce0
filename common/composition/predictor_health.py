"""Polls a proxy's predictors: which of them are available, and the metadata of their models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from common.client import ModelMetadata
from common.errors import ServingError
from common.observability.redaction import redacted
from common.request.deadline import Deadline

_log = logging.getLogger(__name__)
FAST_POLL_SECONDS = 0.1  # until the first response, and after a first failure
POLL_SECONDS = 1.0
TIMEOUT_SECONDS = 1.0  # for one response


class HasMetadata(Protocol):
    """A source of metadata: a `PredictorClient`, or an `InProcessPredictor`."""

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata: ...


class HealthMonitor:
    """Polls each predictor for its metadata in the background.

    `metadata` is the last metadata of each predictor; it is kept while the predictor is unavailable. `unavailable` is
    the reason by name for each predictor that cannot be called. A predictor that has responded before becomes
    unavailable after two failures in a row, since a single one may come from a busy machine. Whatever is derived from
    `metadata` subscribes with `on_change`, and is told as soon as a predictor's metadata changes.
    """

    def __init__(self, predictors: Mapping[str, HasMetadata]) -> None:
        self._predictors = predictors
        self.metadata: dict[str, ModelMetadata] = {}
        self.unavailable: dict[str, str] = dict.fromkeys(predictors, "has not answered yet")
        self._failures = dict.fromkeys(predictors, 0)  # in a row
        self._subscribers: list[Callable[[], None]] = []

    def on_change(self, subscriber: Callable[[], None]) -> None:
        """Calls `subscriber` whenever the metadata of a predictor has changed."""
        self._subscribers.append(subscriber)

    def unready(self, needed: int | None = None) -> str | None:
        """The reasons why fewer than `needed` predictors (all when None) are available; None when enough are."""
        available = len(self._predictors) - len(self.unavailable)
        if available >= (len(self._predictors) if needed is None else needed):
            return None
        return "; ".join(f"predictor {name} {reason}" for name, reason in self.unavailable.items())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Polls until the context is left."""
        tasks = [asyncio.create_task(self._follow(name)) for name in self._predictors]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def poll(self, name: str) -> None:
        """Requests the metadata of one predictor now."""
        try:
            metadata = await self._predictors[name].metadata(deadline=Deadline.after(TIMEOUT_SECONDS))
        except ServingError as error:
            self._failures[name] += 1
            if self._failures[name] > 1 or name not in self.metadata:
                reason = error.detail.removeprefix(f"predictor {name}").lstrip(": ")
                self.unavailable[name] = f"cannot answer: {reason}"
            return
        self.unavailable.pop(name, None)
        self._failures[name] = 0
        if self.metadata.get(name) != metadata:
            self.metadata[name] = metadata
            for subscriber in self._subscribers:
                subscriber()

    async def _follow(self, name: str) -> None:
        while True:
            try:
                await self.poll(name)
            except Exception as error:  # a defect here must not end the polling
                self._failures[name] += 1
                reason = redacted(f"cannot be used: {error!r}")
                if self.unavailable.get(name) != reason:
                    _log.exception("predictor %s %s", name, reason)
                self.unavailable[name] = reason
                self.metadata.pop(name, None)  # so that the subscribers are told again
            in_doubt = name not in self.metadata or self._failures[name] == 1
            await asyncio.sleep(FAST_POLL_SECONDS if in_doubt else POLL_SECONDS)
