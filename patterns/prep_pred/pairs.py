"""Each model's two halves, what prepares its input and what predicts, joined into a model that takes the raw thing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from common.client import ModelMetadata, PredictorClient, PredictorResponse
from common.composition.flow import call, in_order
from common.composition.predictor_health import HealthMonitor
from common.errors import NotReady, PreprocessingMismatch
from common.protocol.tensors import Array, TensorSpec
from common.request.context import RequestContext
from patterns.prep_pred.preparing import FINGERPRINT, INSTANCES

_TOTAL = re.compile(r"\btotal;dur=([\d.]+)")


class Pair:
    """One model from the raw thing to its answer; to its tensor where nobody predicts."""

    inputs, example = [INSTANCES], dict[str, Any]()

    def __init__(self, name: str, predictors: Mapping[str, PredictorClient], monitor: HealthMonitor) -> None:
        self.name, self._monitor = name, monitor
        self._halves = [predictors[half] for half in (f"prep.{name}", f"predictor.{name}") if half in predictors]
        self._version, self._labels = "", dict[str, list[str]]()

    def missing(self) -> str:
        """The halves that have not said yet what they are, and why."""
        away = [half.name for half in self._halves if half.name not in self._monitor.metadata]
        return "; ".join(f"{half} {self._monitor.unavailable[half]}" for half in away)

    @property
    def told(self) -> list[ModelMetadata]:
        """What the halves say of themselves, prep first; NotReady until each has."""
        if missing := self.missing():
            raise NotReady(missing, retry_after=1)
        return [self._monitor.metadata[half.name] for half in self._halves]

    @property
    def version(self) -> str:
        return self._version or self.told[-1].versions[-1]

    @property
    def outputs(self) -> list[TensorSpec]:
        return list(self.told[-1].outputs)

    @property
    def properties(self) -> Mapping[str, str]:
        return {**self.told[-1].properties, **self.told[0].properties}

    def unlike(self) -> str | None:
        """Why the halves do not belong together; None where they do, and while that is not known."""
        stated = [] if self.missing() else [told.properties.get(FINGERPRINT) for told in self.told]
        if len(set(stated)) < 2:
            return None
        return f"model {self.name!r}: prep prepares by {stated[0]!r}, but the predictor expects {stated[1]!r}"

    async def infer(self, context: RequestContext, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """The last half's outputs for `instances`; `version` is then whose they are, until something is awaited.

        Raises NotReady where the halves turn out not to belong together, and what they raise.
        """
        answer: PredictorResponse = await in_order(
            context, inputs, *(self._prepare, self._predict)[: len(self._halves)]
        )
        self._version = answer.model_version
        return answer.outputs

    async def labels(self, context: RequestContext, version: str) -> list[str]:
        """What the columns of an answer of this version mean."""
        if version not in self._labels:
            told = await self._halves[-1].pinned(version).metadata(deadline=context.deadline)
            self._labels[version] = json.loads(told.properties.get("labels", "[]"))
        return self._labels[version]

    async def _prepare(self, context: RequestContext, inputs: Mapping[str, Array]) -> PredictorResponse:
        prepared = await call(context, self._halves[0], inputs)
        context.response_parameters |= prepared.parameters
        return _timed(context, "prepare", self._halves[0].name, prepared)

    async def _predict(self, context: RequestContext, prepared: PredictorResponse) -> PredictorResponse:
        try:
            answer = await call(context, self._halves[1], prepared.outputs, parameters=prepared.parameters)
        except PreprocessingMismatch as error:  # no fault of the caller's, and over once both halves are of one release
            raise NotReady(error.detail, retry_after=1) from None
        return _timed(context, "predict", self._halves[1].name, answer)


def _timed(context: RequestContext, stage: str, half: str, answer: PredictorResponse) -> PredictorResponse:
    """The answer; its call's time is split into what the half says that it took and the trip there and back."""
    whole, own = context.stages.pop(half), _TOTAL.search(answer.server_timing)
    spent = min(float(own[1]), whole) if own else whole
    context.stages["transfer"] = context.stages.pop("transfer", 0.0) + whole - spent
    context.stages[stage] = spent
    return answer
