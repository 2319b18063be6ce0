"""All predictors as one: a model of the Open Inference Protocol itself, so that another proxy can ask this one."""

from __future__ import annotations

from typing import Any

import orjson

from common.composition.flow import Gathered, side_by_side
from common.errors import InvalidInput, NotReady, ServingError, UpstreamFailed
from common.exchange import Exchange
from common.protocol.tensors import Array, TensorSpec
from patterns.parallel.aggregate import combined
from patterns.parallel.ensemble import Calls, Ensemble, hops
from patterns.parallel.member import Said
from patterns.parallel.settings import HOWS, How

MOST_HOPS = 4  # proxies that a request may come through: a circle of PREDICTORS ends here


class Parallel:
    """The model `parallel`; it describes itself as a classifier does."""

    name, version = "parallel", "1"

    def __init__(self, ensemble: Ensemble, how: How) -> None:
        self.ensemble, self.how = ensemble, how

    @property
    def example(self) -> dict[str, Any]:
        width = len(self.ensemble.columns)
        return {"inputs": [{"name": "features", "shape": [1, width], "datatype": "FP32", "data": [1.5] * width}]}

    @property
    def inputs(self) -> list[TensorSpec]:
        return [TensorSpec("features", "FP32", (-1, len(self.ensemble.columns)))]

    @property
    def outputs(self) -> list[TensorSpec]:
        labels, members = self.ensemble.labels, self.ensemble.members.values()
        classes = [TensorSpec("probabilities", "FP32", (-1, len(labels))), TensorSpec("label", "INT64", (-1,))]
        values = [TensorSpec(one.name, "FP32", (-1, 1)) for one in members if not one.labels]
        return [*(classes if labels else ()), *values]

    @property
    def properties(self) -> dict[str, str]:
        told = {"features": self.ensemble.columns, "labels": self.ensemble.labels}
        return {"task": "composed", **{name: orjson.dumps(names).decode() for name, names in told.items()}}

    def unready(self) -> str | None:
        """Why this cannot answer now; None when it can."""
        try:
            self.ensemble.absent()
        except NotReady as reason:
            return reason.detail
        return None

    async def gather(self, exchange: Exchange, calls: Calls) -> Gathered[Said]:
        """What all of them, or enough, said."""
        return await side_by_side(exchange, calls, needed=self.ensemble.needed)

    async def infer(self, exchange: Exchange, inputs: dict[str, Array]) -> dict[str, Array]:
        """Shares of the labels (of the votes, for `vote`) and the regressors' values; who is missing goes beside."""
        if hops(exchange) > MOST_HOPS:
            raise ServingError(f"this came through more than {MOST_HOPS} proxies: do their PREDICTORS go in a circle?")
        how = exchange.request_parameters.get("aggregate", self.how)
        if how not in HOWS:
            raise InvalidInput.at("parameters.aggregate", f"expected one of {', '.join(HOWS)}, got {how!r}")
        found = await self.gather(exchange, self.ensemble.ask(exchange, inputs["features"], self.ensemble.columns))
        if missing := reasons(found):
            exchange.answer_parameters["missing"] = orjson.dumps(missing).decode()
        values = {name: said.array[:, None] for name, said in found.answers.items() if not said.by.labels}
        shares = [said.array for said in found.answers.values() if said.by.labels]
        if not self.ensemble.labels:
            return _Outputs(values)
        if not shares:
            raise UpstreamFailed(f"no classifier answered: {missing}")
        label, probabilities, _ = combined(how, shares)
        return _Outputs(probabilities=probabilities, label=label, **values)


class _Outputs(dict[str, Array]):
    """Outputs by name; one that is missing is a predictor's failure and not ours."""

    def __missing__(self, name: str) -> Array:
        raise UpstreamFailed(f"output {name!r} is missing: its predictor gave no answer")


def reasons(found: Gathered[Said]) -> dict[str, str]:
    """Who has not answered and why, also behind predictors that ask others themselves."""
    behind = {f"{name}/{one}": why for name, said in found.answers.items() for one, why in said.missing.items()}
    return {name: error.detail for name, error in found.missing.items()} | behind
