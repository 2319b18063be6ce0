"""The members of an ensemble while their predictors change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pytest

from common.client import ModelMetadata, PredictorClient, PredictorResponse
from common.composition.predictor_health import HealthMonitor
from common.errors import UpstreamFailed
from common.protocol.tensors import Array, TensorSpec
from common.request.context import RequestContext
from common.request.deadline import Deadline
from common.request.trace import continue_trace
from patterns.parallel.ensemble import Ensemble


class SwappedPredictor:
    """A classifier whose model can be replaced."""

    name = "one"

    def __init__(self, output: str, version: str) -> None:
        self.swap(output, version)

    def swap(self, output: str, version: str) -> None:
        inputs, outputs = TensorSpec("x", "FP32", (-1, 1)), TensorSpec(output, "FP32", (-1, 2))
        properties = {"features": '["f"]', "labels": '["a", "b"]'}
        self.described = ModelMetadata("m", (version,), (inputs,), (outputs,), properties)

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata:
        return self.described

    async def infer(
        self, inputs: Mapping[str, Array], *, outputs: Sequence[str] | None = None, **rest: Any
    ) -> PredictorResponse:
        arrays: dict[str, Array] = {name: np.zeros((1, 2), np.float32) for name in outputs or ()}
        return PredictorResponse(arrays, "m", self.described.versions[0])


async def test_a_new_version_with_another_output_is_refused_as_another_model() -> None:
    predictor = SwappedPredictor("probabilities", "1")
    monitor = HealthMonitor({"one": predictor})
    await monitor.poll("one")
    ensemble = Ensemble(monitor, {"one": cast(PredictorClient, predictor)}, None, None)
    context = RequestContext("POST", "/", "id", continue_trace(None), Deadline.after(5))
    predictor.swap("scores", "2")
    calls = ensemble.calls(context, np.zeros((1, 1), np.float32), ensemble.columns)
    with pytest.raises(UpstreamFailed, match="another model"):
        await calls["one"]
