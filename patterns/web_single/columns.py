"""The named columns of a model: rows of JSON become its inputs, and its outputs become one prediction for each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from common.endpoints.large import rows_size
from common.endpoints.row_answers import RowAnswers
from common.errors import InvalidInput, NotFound
from common.inference.manifest import Feature, Manifest, TensorEntry
from common.protocol.json_body import Payload, decode_json
from common.protocol.rows import columns_of, decode_rows, explain_error, rows_to_array, rows_to_inputs
from common.protocol.stated import json_size
from common.protocol.tensors import DATATYPES, Array


class PredictRequest(msgspec.Struct):
    """Rows of named numbers."""

    instances: list[dict[str, float]]


_request = msgspec.json.Decoder(PredictRequest)


class Columns:
    """The named columns of a model's inputs, the range of each in the training data, and how its outputs are read.

    Raises NotFound for a model whose inputs have no named columns, or whose outputs are not one answer for each row.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest, specs = manifest, manifest.input_specs()
        self._columns = columns_of(specs)
        self._answers = RowAnswers(manifest.output_specs(), manifest.labels)
        other = f"send requests to /v2/models/{manifest.name}/infer"
        if not self._columns:
            raise NotFound(f"model {manifest.name!r} has no named features; {other}")
        if self._answers.output is None:
            raise NotFound(f"model {manifest.name!r} has no output with one row for each input row; {other}")
        self.names = [column.name for column in self._columns]
        self._numbers = specs[0] if len(specs) == 1 and specs[0].datatype in ("FP32", "FP64") else None
        self._ranges = [_Ranges(entry) for entry in manifest.inputs if entry.datatype != "BYTES"]

    def inputs(self, body: Payload, max_rows: int) -> dict[str, Array]:
        """The model's inputs. Raises InvalidInput that names the value which the model cannot take."""
        spec = self._numbers
        if spec is None or spec.missing:
            instances = decode_rows(body)
            _check_count(len(instances), max_rows)
            return rows_to_inputs(instances, self._columns, count=len(instances))
        try:
            numbers = decode_json(_request, body).instances
        except InvalidInput as error:
            raise explain_error(error, body, self.names, exact=True) from None
        _check_count(len(numbers), max_rows)
        return {spec.name: rows_to_array(numbers, self.names, exact=True, datatype=spec.datatype)}

    def predictions(self, outputs: Mapping[str, Array], inputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        """One prediction for each row, with warnings for features outside the range of the training data."""
        predictions = self._labelled(outputs, len(next(iter(inputs.values()))))
        for ranges in self._ranges:
            for index, warnings in ranges.warnings(inputs).items():
                predictions[index].setdefault("warnings", []).extend(warnings)
        return predictions

    def answer_size(self, outputs: Mapping[str, Array], rows: int) -> int:
        """About the bytes of the predictions as JSON."""
        if self._answers.labels:
            return rows_size(rows, self._answers.labels)
        return rows_size(rows, (), 0) + json_size({"": outputs[str(self._answers.output)]})

    def _labelled(self, outputs: Mapping[str, Array], rows: int) -> list[dict[str, Any]]:
        answers, labels = self._answers, self._answers.labels
        if labels:
            scores = answers.scores(outputs, rows)
            return [
                {"label": labels[top], "probabilities": dict(zip(labels, row, strict=True))}
                for top, row in zip(answers.predicted(outputs, scores), scores, strict=True)
            ]
        values = answers.values(outputs, rows)
        if answers.width == 1:
            values = values.reshape(rows)
        name = "label" if self._manifest.task == "classification" else "value"
        unit = {} if name == "label" else {"unit": self._manifest.unit}
        # FP32 stays in numpy's type, so that it is written as short as it reads back
        listed = values if values.dtype.kind == "f" else values.tolist()
        return [{name: _plain(value), **unit} for value in listed]


def _check_count(rows: int, most: int) -> None:
    if not 1 <= rows <= most:
        raise InvalidInput.at("instances", f"expected 1 to {most} rows, got {rows}")


def _plain(value: Any) -> Any:
    """A value that orjson can write; arrays of several dimensions have to be contiguous for that."""
    return np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value


class _Ranges:
    """The ranges of the columns of one input in the training data."""

    def __init__(self, entry: TensorEntry) -> None:
        self._name, self._features = entry.name, entry.features
        features, dtype = entry.features, DATATYPES[entry.datatype]
        lows = [-np.inf if one.minimum is None else one.minimum for one in features]
        highs = [np.inf if one.maximum is None else one.maximum for one in features]
        # a bound is rounded as the values are: 0.1 of the training data is 0.1 of a request
        kind = dtype if dtype.kind == "f" else np.dtype(np.float64)
        with np.errstate(over="ignore"):
            self._low, self._high = np.array(lows, kind), np.array(highs, kind)
        self._none = not np.isfinite([lows, highs]).any()

    def warnings(self, inputs: Mapping[str, Array]) -> dict[int, list[dict[str, str]]]:
        """The features outside the range of the training data, by row. Such a row still gets a prediction."""
        warnings: dict[int, list[dict[str, str]]] = {}
        if self._none:
            return warnings
        rows = inputs[self._name]
        outside = (rows < self._low) | (rows > self._high)
        if not outside.any():
            return warnings
        for row, column in np.argwhere(outside.reshape(len(rows), -1)).tolist():
            one = self._features[column]
            reason = f"outside the range seen in training, {range_of(one)}"
            warnings.setdefault(row, []).append({"field": one.name, "reason": reason})
        return warnings


def range_of(feature: Feature) -> str:
    """The range of a feature in the training data, as text."""
    low, high = feature.minimum, feature.maximum
    if low is None or high is None:
        text = f"at least {low:g}" if low is not None else f"at most {high:g}" if high is not None else "not known"
    else:
        text = f"{low:g} to {high:g}"
    return f"{text} {feature.unit}".rstrip()
