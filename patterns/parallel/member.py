"""One predictor of the ensemble: its inputs, outputs and labels as in its metadata, and its responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from common.client import ModelMetadata, PredictorResponse
from common.endpoints.large import rows_size
from common.errors import UpstreamFailed
from common.protocol.tensors import Array, datatype_of

_names = msgspec.json.Decoder(tuple[str, ...])
_reasons = msgspec.json.Decoder(dict[str, str])


@dataclass(frozen=True, slots=True)
class EnsembleMember:
    """The model of a predictor. A regressor has no labels. `composed`: it is a proxy that calls predictors itself."""

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
    def of(cls, name: str, metadata: ModelMetadata) -> EnsembleMember:
        """Raises UpstreamFailed for a model whose input is not rows of named features, each a number of FP32."""
        known = metadata.properties
        try:
            columns, labels = (_names.decode(known.get(one, "[]")) for one in ("features", "labels"))
        except msgspec.MsgspecError as error:
            raise UpstreamFailed(f"the metadata of predictor {name} are not valid: {error}") from None
        if len(metadata.inputs) != 1 or not metadata.outputs or not columns:
            found = f"{len(metadata.inputs)} inputs and {len(columns)} named features"
            raise UpstreamFailed(
                f"predictor {name}: expected a model with one input of named features, found {found}; serve another "
                "model there, or remove it from PREDICTORS"
            )
        if (datatype := metadata.inputs[0].datatype) != "FP32":
            raise UpstreamFailed(
                f"predictor {name}: expected a model whose input is FP32, found {datatype}; serve another model there, "
                "or remove it from PREDICTORS"
            )
        tensors = metadata.inputs[0].name, metadata.outputs[0].name
        composed = known.get("task") == "composed"
        return cls(name, metadata.name, metadata.versions, *tensors, columns, labels, known.get("unit", ""), composed)

    def read(self, result: PredictorResponse, rows: int) -> MemberResponse:
        """Checks that the response has `rows` rows. Raises UpstreamFailed for another shape or datatype."""
        array, width = result.outputs[self.output], len(self.labels) or 1
        if array.shape != (rows, width) or array.dtype.kind != "f":
            found = f"{datatype_of(array)} {list(array.shape)}"
            raise UpstreamFailed(
                f"predictor {self.name} returned {found} as {self.output}, "
                f"expected floating-point numbers of shape [{rows}, {width}]"
            )
        if not np.isfinite(array).all():
            raise UpstreamFailed(f"predictor {self.name} returned NaN or infinity as {self.output}")
        try:
            missing = _reasons.decode(str(result.parameters.get("missing", "{}"))) if self.composed else {}
        except msgspec.MsgspecError as error:
            raise UpstreamFailed(
                f"predictor {self.name} returned a parameter `missing` that is not valid: {error}"
            ) from None
        return MemberResponse(
            self, f"{self.model}/{result.model_version}", array if self.labels else array[:, 0], missing
        )


@dataclass(frozen=True, slots=True)
class MemberResponse:
    """A member's response: probabilities [rows, labels], or values [rows].

    `missing` are the predictors that have not answered a composed member, with the reasons.
    """

    member: EnsembleMember
    model: str
    array: Array
    missing: dict[str, str]

    def json_size(self) -> int:
        """About the bytes of the response as JSON objects."""
        return rows_size(len(self.array), self.member.labels or (self.member.name, self.member.unit))

    def as_rows(self) -> list[dict[str, Any]]:
        """The response as JSON objects, one for each row."""
        if self.member.labels:
            return classifications(self.array, self.member.labels)
        return [{"value": value, "unit": self.member.unit} for value in self.array]


def classifications(shares: Array, labels: Sequence[str], tops: Array | None = None) -> list[dict[str, Any]]:
    """Probabilities [rows, labels] as objects; `tops`: the index of the best label of each row; computed if None."""
    tops = shares.argmax(axis=1) if tops is None else tops
    return [
        {"label": labels[top], "probabilities": dict(zip(labels, row, strict=True))}
        for top, row in zip(tops, shares, strict=True)
    ]
