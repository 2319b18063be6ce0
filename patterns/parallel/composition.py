"""All predictors as one model of the Open Inference Protocol, so that another proxy can call this one."""

from __future__ import annotations

from typing import Any

import orjson

from common.composition.flow import Gathered, side_by_side
from common.endpoints.backend import InferRequest, InferResponse
from common.errors import InvalidInput, LoopDetected, NotReady, ServingError, UpstreamFailed
from common.protocol.tensors import TensorSpec
from common.request.context import RequestContext
from patterns.parallel.aggregate import aggregate
from patterns.parallel.ensemble import Calls, Ensemble
from patterns.parallel.feature_store import store_failure
from patterns.parallel.member import MemberResponse
from patterns.parallel.settings import AGGREGATIONS, Aggregation

MAX_PROXIES = 4  # that a request may pass; more means that proxies list each other, each with several replicas


class Parallel:
    """The model `parallel`: it looks like one classifier, with a further output for each regressor."""

    name, version = "parallel", "1"

    def __init__(self, ensemble: Ensemble, aggregation: Aggregation, via: str) -> None:
        self.ensemble, self.aggregation, self.via = ensemble, aggregation, via
        self._described: tuple[Any, list[TensorSpec], list[TensorSpec]] = (None, [], [])

    @property
    def example(self) -> dict[str, Any]:
        width = len(self.ensemble.columns)
        return {"inputs": [{"name": "features", "shape": [1, width], "datatype": "FP32", "data": [1.5] * width}]}

    @property
    def inputs(self) -> list[TensorSpec]:
        return self._tensors()[1]

    @property
    def outputs(self) -> list[TensorSpec]:
        return self._tensors()[2]

    def _tensors(self) -> tuple[Any, list[TensorSpec], list[TensorSpec]]:
        """The members with their inputs and outputs, which are cached until the members change."""
        labels, members = self.ensemble.labels, self.ensemble.members
        if self._described[0] is not members:
            classes = [TensorSpec("probabilities", "FP32", (-1, len(labels))), TensorSpec("label", "INT64", (-1,))]
            values = [TensorSpec(one.name, "FP32", (-1, 1)) for one in members.values() if not one.labels]
            features = TensorSpec("features", "FP32", (-1, len(self.ensemble.columns)))
            self._described = members, [features], [*(classes if labels else ()), *values]
        return self._described

    @property
    def properties(self) -> dict[str, str]:
        lists = {"features": self.ensemble.columns, "labels": self.ensemble.labels}
        return {"task": "composed", **{name: orjson.dumps(names).decode() for name, names in lists.items()}}

    def unavailable_reason(self) -> str | None:
        """Why no request can be answered now: too few predictors can be called. None when enough can."""
        try:
            self.ensemble.skipped()
        except NotReady as reason:
            return reason.detail
        return None

    async def gather(self, context: RequestContext, calls: Calls) -> Gathered[MemberResponse]:
        """Makes the calls and waits for all of them; stops early when too many have failed for `ensemble.needed`."""
        try:
            found = await side_by_side(context, calls, needed=self.ensemble.needed)
        except ServingError as error:
            raise store_failure(error) or error from None
        self.ensemble.check_classifiers(found)
        return found

    async def infer(self, request: InferRequest[Any]) -> InferResponse:
        """Calls the predictors and combines their outputs.

        The outputs: `probabilities` of the labels (for `vote`, each label's share of the votes), `label`, and the value
        of each regressor. The parameter `missing` of the response gives the predictors that have not answered, with the
        reason of each.
        """
        context, ensemble = request.context, self.ensemble
        via = self._passed(request)
        aggregation = request.parameters.get("aggregate", self.aggregation)
        if aggregation not in AGGREGATIONS:
            raise InvalidInput.at(
                "parameters.aggregate", f"expected one of {', '.join(AGGREGATIONS)}, got {aggregation!r}"
            )
        calls = ensemble.calls(context, request.inputs["features"], ensemble.columns, via)
        found = await self.gather(context, calls)
        missing = reasons(found)
        parameters = {"missing": orjson.dumps(missing).decode()} if missing else {}
        outputs = {name: answer.array[:, None] for name, answer in found.answers.items() if not answer.member.labels}
        shares = [answer.array for answer in found.answers.values() if answer.member.labels]
        if shares:
            label, probabilities, _ = aggregate(aggregation, shares)
            outputs = {"probabilities": probabilities, "label": label, **outputs}
        elif ensemble.labels:
            raise UpstreamFailed(f"no classifier answered: {missing}")
        return InferResponse(outputs, self.name, self.version, parameters)

    def _passed(self, request: InferRequest[Any]) -> str:
        """The ids of the proxies that a request has passed, this one included. Raises LoopDetected for a circle."""
        given = request.parameters.get("via", "")
        passed = given.split(",") if isinstance(given, str) and given else []
        if self.via in passed:
            raise LoopDetected(
                f"the request came back to a proxy that it had passed {len(passed) - passed.index(self.via)} calls "
                "before: these proxies form a circle; check PREDICTORS of each"
            )
        if len(passed) > MAX_PROXIES:
            raise LoopDetected(
                f"expected a request that has passed at most {MAX_PROXIES} proxies, got one that has passed "
                f"{len(passed)}: probably these proxies form a circle; check PREDICTORS of each"
            )
        return ",".join([*passed, self.via])


def reasons(found: Gathered[MemberResponse]) -> dict[str, str]:
    """The predictors that have not answered, with the reason of each; includes those behind another proxy."""
    nested = {f"{name}/{one}": why for name, answer in found.answers.items() for one, why in answer.missing.items()}
    return {name: error.detail for name, error in found.missing.items()} | nested
