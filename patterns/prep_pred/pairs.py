"""Each model's two halves, what prepares its input and what predicts, joined into a model that takes the raw thing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from common.client import InferResult, ModelMetadata, PredictorClient
from common.composition.flow import call, in_order
from common.composition.watch import Watch
from common.errors import Mismatch, NotReady
from common.exchange import Exchange
from common.protocol.tensors import Array, TensorSpec
from patterns.prep_pred.preparing import FINGERPRINT, INSTANCES

_TOTAL = re.compile(r"\btotal;dur=([\d.]+)")


class Pair:
    """One model from the raw thing to its answer; to its tensor where nobody predicts."""

    inputs, example = [INSTANCES], dict[str, Any]()

    def __init__(self, name: str, predictors: Mapping[str, PredictorClient], watch: Watch) -> None:
        self.name, self._watch = name, watch
        self._halves = [predictors[half] for half in (f"prep.{name}", f"predictor.{name}") if half in predictors]
        self._version, self._labels = "", dict[str, list[str]]()

    def missing(self) -> str:
        """The halves that have not said yet what they are, and why."""
        away = [half.name for half in self._halves if half.name not in self._watch.known]
        return "; ".join(f"{half} {self._watch.reasons[half]}" for half in away)

    @property
    def told(self) -> list[ModelMetadata]:
        """What the halves say of themselves, prep first; NotReady until each has."""
        if missing := self.missing():
            raise NotReady(missing, retry_after=1)
        return [self._watch.known[half.name] for half in self._halves]

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

    async def infer(self, exchange: Exchange, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """The last half's outputs for `instances`; `version` is then whose they are, until something is awaited.

        Raises NotReady where the halves turn out not to belong together, and what they raise.
        """
        answer: InferResult = await in_order(exchange, inputs, *(self._prepare, self._predict)[: len(self._halves)])
        self._version = answer.model_version
        return answer.outputs

    async def labels(self, exchange: Exchange, version: str) -> list[str]:
        """What the columns of an answer of this version mean."""
        if version not in self._labels:
            told = await self._halves[-1].pinned(version).metadata(deadline=exchange.deadline)
            self._labels[version] = json.loads(told.properties.get("labels", "[]"))
        return self._labels[version]

    async def _prepare(self, exchange: Exchange, inputs: Mapping[str, Array]) -> InferResult:
        prepared = await call(exchange, self._halves[0], inputs)
        exchange.answer_parameters |= prepared.parameters
        return _timed(exchange, "prepare", self._halves[0].name, prepared)

    async def _predict(self, exchange: Exchange, prepared: InferResult) -> InferResult:
        try:
            answer = await call(exchange, self._halves[1], prepared.outputs, parameters=prepared.parameters)
        except Mismatch as error:  # no fault of the caller's, and over once both halves are of one release
            raise NotReady(error.detail, retry_after=1) from None
        return _timed(exchange, "predict", self._halves[1].name, answer)


def _timed(exchange: Exchange, stage: str, half: str, answer: InferResult) -> InferResult:
    """The answer; its call's time is split into what the half says that it took and the trip there and back."""
    whole, own = exchange.stages.pop(half), _TOTAL.search(answer.server_timing)
    spent = min(float(own[1]), whole) if own else whole
    exchange.stages["transfer"] = exchange.stages.pop("transfer", 0.0) + whole - spent
    exchange.stages[stage] = spent
    return answer
