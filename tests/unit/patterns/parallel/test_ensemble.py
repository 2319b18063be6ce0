"""The members of an ensemble while their predictors change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from common.client import ModelMetadata, PredictorClient, PredictorResponse
from common.composition.flow import Gathered
from common.composition.predictor_health import HealthMonitor
from common.errors import DeadlineExceeded, NotReady, Overloaded, PayloadTooLarge, UpstreamFailed
from common.observability.metrics import Metrics
from common.protocol.tensors import Array, TensorSpec
from common.request.capacity import Capacity
from common.request.context import RequestContext
from common.request.deadline import Deadline
from common.request.trace import continue_trace
from patterns.parallel.ensemble import Ensemble, Limits
from patterns.parallel.feature_store import store_failure
from patterns.parallel.member import MemberResponse


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


class Timed:
    """A member that takes the time it is given, as a frozen one does; `given` are the seconds of each call."""

    def __init__(self, name: str, *, labels: bool = True) -> None:
        self.name, self.given = name, list[float]()
        inputs = TensorSpec("x", "FP32", (-1, 1))
        properties = {"features": '["f"]', **({"labels": '["a", "b"]'} if labels else {"unit": "cm"})}
        outputs = TensorSpec("y", "FP32", (-1, 2 if labels else 1))
        self.described = ModelMetadata("m", ("1",), (inputs,), (outputs,), properties)

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata:
        return self.described

    async def infer(self, inputs: Mapping[str, Array], *, deadline: Deadline, **rest: Any) -> PredictorResponse:
        self.given.append(deadline.remaining)
        raise DeadlineExceeded(f"predictor {self.name} did not respond before the deadline")


async def over(limits: Limits, *predictors: Timed) -> Ensemble:
    monitor = HealthMonitor({one.name: one for one in predictors})
    for one in predictors:
        await monitor.poll(one.name)
    return Ensemble(monitor, {one.name: cast(PredictorClient, one) for one in predictors}, limits)


def asked(seconds: float) -> RequestContext:
    return RequestContext("POST", "/", "id", continue_trace(None), Deadline.after(seconds))


ROW = np.zeros((1, 1), np.float32)


@pytest.mark.parametrize(("remaining", "expected"), [(0.5, 0.4), (10.0, 1.0)])
async def test_a_predictor_gets_less_time_than_the_caller_gave(remaining: float, expected: float) -> None:
    slow = Timed("slow")
    ensemble = await over(Limits(1.0, 1), slow)
    context = asked(remaining)
    with pytest.raises(DeadlineExceeded):
        await ensemble.calls(context, ROW, ensemble.columns)["slow"]
    assert slow.given == [pytest.approx(expected, abs=0.05)]


async def test_what_all_calls_take_together_counts_as_held() -> None:
    ensemble = await over(Limits(), Timed("one"), Timed("two"), Timed("width", labels=False))
    rows, ids = np.zeros((100_000, 1), np.float32), ["12345678"] * 100_000
    most = 3 * rows.nbytes + (2 + 2 + 1) * 16 * len(rows)
    context = asked(5)
    context.capacity = Capacity(most, most, 1, Metrics())
    for call in ensemble.calls(context, rows, ensemble.columns).values():
        call.close()
    assert context.held == most
    context.release()
    with pytest.raises(PayloadTooLarge):
        ensemble.calls_by_item(context, {}, ids)
    context.capacity = Capacity(most - 1, most - 1, 1, Metrics())
    with pytest.raises(PayloadTooLarge):
        ensemble.calls(context, rows, ensemble.columns)


async def test_with_all_a_predictor_gets_the_callers_time() -> None:
    slow = Timed("slow")
    ensemble = await over(Limits(), slow)
    with pytest.raises(DeadlineExceeded):
        await ensemble.calls(asked(5), ROW, ensemble.columns)["slow"]
    assert slow.given == [pytest.approx(5, abs=0.05)]


async def test_a_quorum_can_demand_a_classifier() -> None:
    classifier, regressor = Timed("slow"), Timed("width", labels=False)
    ensemble = await over(Limits(1.0, 1, 1), classifier, regressor)
    ensemble.skipped()  # both are there
    member = ensemble.members["width"]
    value = MemberResponse(member, "m/1", np.zeros(1, np.float32), {})
    late = DeadlineExceeded("predictor slow did not respond before the deadline")
    with pytest.raises(DeadlineExceeded, match="classifiers that responded: 0, needed: 1: predictor slow did not"):
        ensemble.check_classifiers(Gathered({"width": value}, {"slow": late}))
    shares = MemberResponse(ensemble.members["slow"], "m/1", np.zeros((1, 2), np.float32), {})
    ensemble.check_classifiers(Gathered({"slow": shares}, {}))
    with pytest.raises(NotReady, match="classifiers available: 0, needed: 1"):
        (await over(Limits(1.0, 1, 1), regressor)).skipped()


def test_the_store_is_named_alike_by_the_proxy_and_by_the_predictors() -> None:
    own = NotReady("the feature store (redis) failed: ConnectionError", retry_after=1)
    quoted = f"0 of 2 predictors responded and 1 are needed: a: predictor a answered 503: {own.detail}; b: the same"
    for error in (own, Overloaded(f"predictor a answered 503: {own.detail}"), UpstreamFailed(quoted)):
        found = store_failure(error)
        assert (type(found), found and found.detail) == (NotReady, own.detail)
    assert store_failure(UpstreamFailed("predictor a answered 500")) is None


async def test_a_new_version_with_another_output_is_refused_as_another_model() -> None:
    predictor = SwappedPredictor("probabilities", "1")
    monitor = HealthMonitor({"one": predictor})
    await monitor.poll("one")
    ensemble = Ensemble(monitor, {"one": cast(PredictorClient, predictor)}, Limits())
    context = RequestContext("POST", "/", "id", continue_trace(None), Deadline.after(5))
    predictor.swap("scores", "2")
    calls = ensemble.calls(context, np.zeros((1, 1), np.float32), ensemble.columns)
    with pytest.raises(UpstreamFailed, match="another model"):
        await calls["one"]


@pytest.mark.parametrize("datatype", ["UINT8", "INT64", "FP64", "BYTES"])
async def test_a_model_of_another_datatype_is_no_member(datatype: str) -> None:
    """Rows are sent as FP32: 300, -1 or 1.7 would never be what such a model takes, and its caller cannot mend that."""
    one = Timed("bytes")
    one.described = replace(one.described, inputs=(TensorSpec("x", datatype, (-1, 1)),))
    ensemble = await over(Limits(needed=1), one, Timed("numbers"))
    assert list(ensemble.members) == ["numbers"]
    assert f"expected a model whose input is FP32, found {datatype}" in ensemble.unusable["bytes"].detail
