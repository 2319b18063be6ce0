"""Joins two services of a model, one for preprocessing and one for inference, into one model that takes raw input."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from common.client import ModelMetadata, PredictorClient, PredictorResponse
from common.composition.flow import call
from common.composition.predictor_health import HealthMonitor
from common.endpoints.backend import InferRequest, InferResponse
from common.endpoints.fingerprint import FINGERPRINT
from common.errors import NotReady, PreprocessingMismatch
from common.protocol.tensors import TensorSpec
from common.request.context import RequestContext
from patterns.prep_pred.preparing import INSTANCES

_TOTAL = re.compile(r"\btotal;dur=([\d.]+)")


class Pair:
    """A model that takes raw input. Its outputs are the predictor's, or prep's if no predictor is configured."""

    inputs, example = [INSTANCES], dict[str, Any]()

    def __init__(self, name: str, predictors: Mapping[str, PredictorClient], monitor: HealthMonitor) -> None:
        self.name, self._monitor = name, monitor
        self._services = [
            predictors[service] for service in (f"prep.{name}", f"predictor.{name}") if service in predictors
        ]
        self._labels: dict[str, list[str]] = {}

    def unavailable_reason(self) -> str | None:
        """The services whose metadata is not known yet, with the reasons; None when all are known."""
        missing = [service.name for service in self._services if service.name not in self._monitor.metadata]
        return "; ".join(f"{service} {self._monitor.unavailable[service]}" for service in missing) or None

    @property
    def metadata(self) -> list[ModelMetadata]:
        """The metadata of the services, prep first. Raises NotReady until all is known."""
        if reason := self.unavailable_reason():
            raise NotReady(reason, retry_after=1)
        return [self._monitor.metadata[service.name] for service in self._services]

    @property
    def version(self) -> str:
        """The newest version of the service that makes the outputs."""
        return self.metadata[-1].versions[-1]

    @property
    def outputs(self) -> list[TensorSpec]:
        return list(self.metadata[-1].outputs)

    @property
    def properties(self) -> Mapping[str, str]:
        return {**self.metadata[-1].properties, **self.metadata[0].properties}

    def mismatch(self) -> str | None:
        """An error message if the fingerprints of prep and predictor differ; None if they agree or are not known."""
        fingerprints = [] if self.unavailable_reason() else [one.properties.get(FINGERPRINT) for one in self.metadata]
        if len(set(fingerprints)) < 2:
            return None
        return (
            f"model {self.name!r}: prep prepares inputs for the preprocessing {fingerprints[0]!r}, but the predictor "
            f"expects {fingerprints[1]!r}; deploy both from the same release of serving-patterns"
        )

    async def infer(self, request: InferRequest[Any]) -> InferResponse:
        """Prepares `instances`, runs the model, and returns its outputs and version.

        Raises NotReady when the preprocessing of the services differs, and every error of `call`.
        """
        context = request.context
        context.deadline.check("the input was prepared")
        prepared = await call(context, self._services[0], request.inputs)
        _split_time(context, "prepare", self._services[0].name, prepared)
        response = prepared
        if len(self._services) > 1:
            context.deadline.check("the predictor was called")
            response = await self._predict(context, prepared)
        return InferResponse(response.outputs, self.name, response.model_version, prepared.parameters)

    async def labels(self, context: RequestContext, version: str) -> list[str]:
        """The labels of a version, one for each column of its output."""
        if version not in self._labels:
            metadata = await self._services[-1].pinned(version).metadata(deadline=context.deadline)
            self._labels[version] = json.loads(metadata.properties.get("labels", "[]"))
        return self._labels[version]

    async def _predict(self, context: RequestContext, prepared: PredictorResponse) -> PredictorResponse:
        predictor = self._services[1]
        try:
            response = await call(context, predictor, prepared.outputs, parameters=prepared.parameters)
        except PreprocessingMismatch as error:  # not the caller's fault: it ends when both are of one release
            raise NotReady(error.detail, retry_after=1) from None
        _split_time(context, "predict", predictor.name, response)
        return response


def _split_time(context: RequestContext, stage: str, service: str, response: PredictorResponse) -> None:
    """Splits the time of a call into the time that the service reports in Server-Timing, and the rest: transfer."""
    total, stated = context.stages.pop(service), _TOTAL.search(response.server_timing)
    milliseconds = min(float(stated[1]), total) if stated else total
    context.stages["transfer"] = context.stages.pop("transfer", 0.0) + total - milliseconds
    context.stages[stage] = milliseconds
