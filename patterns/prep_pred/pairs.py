"""Joins the two halves of a model, preprocessing and inference, into one model that takes raw input."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from common.client import ModelMetadata, PredictorClient, PredictorResponse
from common.composition.flow import call
from common.composition.predictor_health import HealthMonitor
from common.endpoints.backend import InferRequest, InferResponse
from common.errors import NotReady, PreprocessingMismatch
from common.protocol.tensors import TensorSpec
from common.request.context import RequestContext
from patterns.prep_pred.preparing import FINGERPRINT, INSTANCES

_TOTAL = re.compile(r"\btotal;dur=([\d.]+)")


class Pair:
    """One model with raw input. Its outputs are those of the predictor, or of prep when no predictor is configured."""

    inputs, example = [INSTANCES], dict[str, Any]()

    def __init__(self, name: str, predictors: Mapping[str, PredictorClient], monitor: HealthMonitor) -> None:
        self.name, self._monitor = name, monitor
        self._halves = [predictors[half] for half in (f"prep.{name}", f"predictor.{name}") if half in predictors]
        self._labels: dict[str, list[str]] = {}

    def undescribed(self) -> str | None:
        """The halves that have not described themselves yet, and why; None once both have."""
        missing = [half.name for half in self._halves if half.name not in self._monitor.metadata]
        return "; ".join(f"{half} {self._monitor.unavailable[half]}" for half in missing) or None

    @property
    def metadata(self) -> list[ModelMetadata]:
        """The metadata of the halves, prep first. Raises NotReady until both have described themselves."""
        if reason := self.undescribed():
            raise NotReady(reason, retry_after=1)
        return [self._monitor.metadata[half.name] for half in self._halves]

    @property
    def version(self) -> str:
        """The newest version of the last half."""
        return self.metadata[-1].versions[-1]

    @property
    def outputs(self) -> list[TensorSpec]:
        return list(self.metadata[-1].outputs)

    @property
    def properties(self) -> Mapping[str, str]:
        return {**self.metadata[-1].properties, **self.metadata[0].properties}

    def mismatch(self) -> str | None:
        """The reason why the preprocessing of the halves differs; None when it is the same or not known yet."""
        fingerprints = [] if self.undescribed() else [one.properties.get(FINGERPRINT) for one in self.metadata]
        if len(set(fingerprints)) < 2:
            return None
        return (
            f"model {self.name!r}: prep prepares inputs for the preprocessing {fingerprints[0]!r}, but the predictor "
            f"expects {fingerprints[1]!r}; deploy both from one release"
        )

    async def infer(self, request: InferRequest[Any]) -> InferResponse:
        """The last half's outputs for `instances`, and the version of it that made them.

        Raises NotReady when the preprocessing of the halves differs, and whatever their calls raise.
        """
        context = request.context
        context.deadline.check("the input was prepared")
        prepared = await call(context, self._halves[0], request.inputs)
        _split_time(context, "prepare", self._halves[0].name, prepared)
        response = prepared
        if len(self._halves) > 1:
            context.deadline.check("the predictor was asked")
            response = await self._predict(context, prepared)
        return InferResponse(response.outputs, self.name, response.model_version, prepared.parameters)

    async def labels(self, context: RequestContext, version: str) -> list[str]:
        """The labels of a version, one for each column of its output."""
        if version not in self._labels:
            metadata = await self._halves[-1].pinned(version).metadata(deadline=context.deadline)
            self._labels[version] = json.loads(metadata.properties.get("labels", "[]"))
        return self._labels[version]

    async def _predict(self, context: RequestContext, prepared: PredictorResponse) -> PredictorResponse:
        predictor = self._halves[1]
        try:
            response = await call(context, predictor, prepared.outputs, parameters=prepared.parameters)
        except PreprocessingMismatch as error:  # not the caller's fault: it ends when both halves are of one release
            raise NotReady(error.detail, retry_after=1) from None
        _split_time(context, "predict", predictor.name, response)
        return response


def _split_time(context: RequestContext, stage: str, half: str, response: PredictorResponse) -> None:
    """Splits the time of a call into the time that the half states in Server-Timing, and the transfer."""
    total, stated = context.stages.pop(half), _TOTAL.search(response.server_timing)
    seconds_in_half = min(float(stated[1]), total) if stated else total
    context.stages["transfer"] = context.stages.pop("transfer", 0.0) + total - seconds_in_half
    context.stages[stage] = seconds_in_half
