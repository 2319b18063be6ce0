"""Models that are released together: which version answers, and that one answer never mixes two.

All models of a release bear the same version. The current one is the newest that every predictor lists; a request takes
it once and asks every predictor for that version, so predictors keep two (`MODEL_VERSIONS_KEPT`).
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


class Predictor(flow.Predictor, Protocol):
    """A predictor that tells of its model, and can be kept to one version of it."""

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata: ...

    def pinned(self, version: str) -> Self: ...


@dataclass(frozen=True, slots=True)
class ReleasedModel:
    """One model of a release: whom to ask for it, and what it says of itself."""

    predictor: Predictor
    told: ModelMetadata


@dataclass(frozen=True, slots=True)
class Release:
    """One version of every model, by the predictor's name."""

    version: str
    parts: Mapping[str, ReleasedModel]


class Releases:
    """Finds the current release. A predictor that is away keeps the versions that it listed last.

    The `optional` ones hold nobody up: one that has never answered is no part of a release.
    """

    def __init__(
        self, monitor: HealthMonitor, predictors: Mapping[str, Predictor], optional: Collection[str] = ()
    ) -> None:
        self._monitor, self._predictors, self._optional = monitor, predictors, optional
        self._current: Release | None = None

    @property
    def version(self) -> str:
        """Of the release that answers; empty while none does."""
        return self._current.version if self._current else ""

    def unready(self) -> str | None:
        """Why there is nothing to answer with: a predictor that is away, or no version that all have."""
        away = {name: reason for name, reason in self._monitor.unavailable.items() if name not in self._optional}
        if away:
            return "; ".join(f"predictor {name} {reason}" for name, reason in away.items())
        if self._newest() is None:
            known = self._monitor.metadata.items()
            listed = ", ".join(f"{name} has {' and '.join(told.versions) or 'none'}" for name, told in known)
            return f"no version is common to all models: {listed}"
        return None

    async def current(self, deadline: Deadline) -> Release:
        """What a request begins with and keeps to its end.

        Raises NotReady, with the reason, where no version is common to all, and what `metadata` raises.
        """
        newest, known = self._newest(), self._monitor.metadata.keys()
        if newest is None:
            raise NotReady(self.unready() or "", retry_after=1)
        if self._current is None or (self._current.version, self._current.parts.keys()) != (newest, known):
            names = list(known)
            parts = await asyncio.gather(*(self._part(name, newest, deadline) for name in names))
            self._current = Release(newest, dict(zip(names, parts, strict=True)))
        return self._current

    def away(self, name: str) -> str | None:
        """Why a predictor cannot be asked just now; None where it can."""
        return self._monitor.unavailable.get(name)

    async def renew(self) -> None:
        """Asks every predictor now, for one of them has let a version go."""
        await asyncio.gather(*map(self._monitor.poll, self._predictors))

    def _newest(self) -> str | None:
        known = self._monitor.metadata
        if not known or self._predictors.keys() - known.keys() - set(self._optional):
            return None
        common = set.intersection(*(set(told.versions) for told in known.values()))
        return max(filter(str.isdecimal, common), key=int, default=None)

    async def _part(self, name: str, version: str, deadline: Deadline) -> ReleasedModel:
        predictor = self._predictors[name].pinned(version)
        return ReleasedModel(predictor, await predictor.metadata(deadline=deadline))
