"""Releases: models that are deployed together. No response mixes models of two releases.

All models of a release have the same version. The current release is the newest version that every predictor lists. A
request determines it once and then calls every predictor for that version. During an update predictors therefore serve
two versions (`MODEL_VERSIONS_KEPT`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from common.client import ModelMetadata
from common.composition import flow
from common.composition.predictor_health import HealthMonitor
from common.errors import NotReady
from common.request.deadline import Deadline


class VersionedPredictor(flow.CallablePredictor, Protocol):
    """A predictor that describes its model, and that can be called for one version of it."""

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata: ...

    def pinned(self, version: str) -> Self: ...


@dataclass(frozen=True, slots=True)
class ReleasedModel:
    """One model of a release: its predictor, pinned to the version, and its metadata."""

    predictor: VersionedPredictor
    metadata: ModelMetadata


@dataclass(frozen=True, slots=True)
class Release:
    """One version of every model, by the name of the predictor."""

    version: str
    models: Mapping[str, ReleasedModel]


class Releases:
    """Finds the current release. For an unavailable predictor, the versions that it listed last count.

    An `optional` predictor that has never responded is not part of a release, and does not make the service unready.
    """

    def __init__(
        self, monitor: HealthMonitor, predictors: Mapping[str, VersionedPredictor], optional: Collection[str] = ()
    ) -> None:
        self._monitor, self._predictors, self._optional = monitor, predictors, optional
        self._current: Release | None = None

    @property
    def version(self) -> str:
        """The version of the current release; empty while there is none."""
        return self._current.version if self._current else ""

    def unready(self) -> str | None:
        """Why there is no release: an unavailable predictor, or no version that all predictors have; else None."""
        required = {name: reason for name, reason in self._monitor.unavailable.items() if name not in self._optional}
        if required:
            return "; ".join(f"predictor {name} {reason}" for name, reason in required.items())
        if self._newest() is None:
            known = self._monitor.metadata.items()
            listed = ", ".join(f"{name} has {' and '.join(one.versions) or 'none'}" for name, one in known)
            return f"no version is common to all models: {listed}"
        return None

    async def current(self, deadline: Deadline) -> Release:
        """The current release. A request calls this once and uses the result to its end.

        Raises NotReady when no version is common to all predictors, and whatever `metadata` raises.
        """
        newest, known = self._newest(), self._monitor.metadata.keys()
        if newest is None:
            raise NotReady(self.unready() or "", retry_after=1)
        if self._current is None or (self._current.version, self._current.models.keys()) != (newest, known):
            names = list(known)
            models = await asyncio.gather(*(self._model(name, newest, deadline) for name in names))
            self._current = Release(newest, dict(zip(names, models, strict=True)))
        return self._current

    def unavailable(self, name: str) -> str | None:
        """Why a predictor cannot be called now; None when it can."""
        return self._monitor.unavailable.get(name)

    async def refresh(self) -> None:
        """Polls every predictor now, because one of them does not serve its version any more."""
        await asyncio.gather(*map(self._monitor.poll, self._predictors))

    def _newest(self) -> str | None:
        known = self._monitor.metadata
        if not known or self._predictors.keys() - known.keys() - set(self._optional):
            return None
        common = set.intersection(*(set(one.versions) for one in known.values()))
        return max(filter(str.isdecimal, common), key=int, default=None)

    async def _model(self, name: str, version: str, deadline: Deadline) -> ReleasedModel:
        predictor = self._predictors[name].pinned(version)
        return ReleasedModel(predictor, await predictor.metadata(deadline=deadline))
