"""One predictor as the proxy sees it: what it takes and says, in its own words, and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from common.client import ModelMetadata, PredictorResponse
from common.errors import UpstreamFailed
from common.protocol.tensors import Array, datatype_of

_names = msgspec.json.Decoder(tuple[str, ...])
_reasons = msgspec.json.Decoder(dict[str, str])


@dataclass(frozen=True, slots=True)
class EnsembleMember:
    """A predictor's model; a regressor has no labels. `composed`: it asks others itself."""

    name: str
    model: str
    versions: Sequence[str]
    input: str
    output: str
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    unit: str
    composed: bool

    @classmethod
    def of(cls, name: str, told: ModelMetadata) -> EnsembleMember:
        """Raises UpstreamFailed for a model that does not take rows of named features."""
        known = told.properties
        try:
            columns, labels = (_names.decode(known.get(one, "[]")) for one in ("features", "labels"))
        except msgspec.MsgspecError as error:
            raise UpstreamFailed(f"predictor {name} describes its model wrongly: {error}") from None
        if len(told.inputs) != 1 or not told.outputs or not columns:
            raise UpstreamFailed(f"predictor {name} does not take one input of named features")
        tensors = told.inputs[0].name, told.outputs[0].name
        composed = known.get("task") == "composed"
        return cls(name, told.name, told.versions, *tensors, columns, labels, known.get("unit", ""), composed)

    def read(self, result: PredictorResponse, rows: int) -> MemberResponse:
        """UpstreamFailed where the answer is neither probabilities nor values for so many rows."""
        array, width = result.outputs[self.output], len(self.labels) or 1
        if array.shape != (rows, width) or array.dtype.kind != "f":
            came = f"{datatype_of(array)} {list(array.shape)}"
            raise UpstreamFailed(
                f"predictor {self.name} answered {came} as its {self.output}, not numbers of shape [{rows}, {width}]"
            )
        try:
            missing = _reasons.decode(str(result.parameters.get("missing", "{}"))) if self.composed else {}
        except msgspec.MsgspecError as error:
            raise UpstreamFailed(f"predictor {self.name} says wrongly what it misses: {error}") from None
        return MemberResponse(
            self, f"{self.model}/{result.model_version}", array if self.labels else array[:, 0], missing
        )


@dataclass(frozen=True, slots=True)
class MemberResponse:
    """A member's answer: probabilities [rows, labels], or values [rows]; `missing` where it asked others itself."""

    by: EnsembleMember
    model: str
    array: Array
    missing: dict[str, str]

    def told(self) -> list[dict[str, Any]]:
        """For a person, one object a row."""
        if self.by.labels:
            return labelled(self.array, self.by.labels)
        return [{"value": value, "unit": self.by.unit} for value in self.array]


def labelled(shares: Array, labels: Sequence[str], tops: Array | None = None) -> list[dict[str, Any]]:
    """Probabilities [rows, labels] as objects; `tops` are the indices of the labels where they are known already."""
    tops = shares.argmax(axis=1) if tops is None else tops
    return [
        {"label": labels[top], "probabilities": dict(zip(labels, row, strict=True))}
        for top, row in zip(tops, shares, strict=True)
    ]
