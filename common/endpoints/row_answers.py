"""Reads the outputs of a model as one answer for each row: scores of labels, or values.

POST /predict and TensorFlow Serving's :classify and :regress share it. What the outputs are is decided once, from the
manifest, and not by their order: exporters put the label first or the probabilities first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from common.errors import InvalidInput, ModelFailed
from common.protocol.tensors import Array, TensorSpec
from common.protocol.values import OIP_INSTEAD, check_json_numbers

_FLOATS = ("FP16", "FP32", "FP64")
_LABELS = ("INT64", "INT32", "BYTES")


class RowAnswers:
    """How to read the outputs of one model.

    `labels` are those that its scores are for; empty for a model whose answers are values. `output` is the name of the
    output with the answers; None when no output has one answer for each row. `width`: the values in an answer; None
    when that is free.
    """

    def __init__(self, outputs: Sequence[TensorSpec], labels: Sequence[str]) -> None:
        scores = _scores(outputs, len(labels)) if labels else None
        self.sigmoid = scores is not None and _width(scores) == 1
        self.labels = list(labels) if scores is not None else []
        by_row = [spec for spec in outputs if spec.shape[:1] == (-1,) and not spec.any_rank]
        main = scores or next(iter(by_row if not labels else outputs), None)
        self.output = main.name if main is not None and main in by_row else None
        self.width = _width(main) if main is not None else None
        self._label = _label_output(outputs) if scores is not None else None
        self._numbers = {int(one): index for index, one in enumerate(labels) if one.lstrip("-").isdecimal()}

    def predicted(self, outputs: Mapping[str, Array], scores: Array) -> list[int]:
        """The index of each row's label: what the model's own output of labels says, else that of the highest score.

        They differ where a classifier does not predict the class that it gives the highest score, as a support vector
        machine with calibrated scores, or one with a threshold of its own.
        """
        stated = outputs.get(self._label or "")
        if stated is not None and stated.size == len(scores):
            found = [index for value in stated.reshape(-1).tolist() if (index := self._index(value)) is not None]
            if len(found) == len(scores):
                return found
        highest: list[int] = scores.argmax(axis=1).tolist()
        return highest

    def _index(self, value: int | str | bytes) -> int | None:
        """The place of a label that is stated as text, as a number, or as its place; None for what is no label."""
        if isinstance(value, int):
            by_number = len(self._numbers) == len(self.labels)
            return self._numbers.get(value) if by_number else value if 0 <= value < len(self.labels) else None
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        return self.labels.index(text) if text in self.labels else None

    def scores(self, outputs: Mapping[str, Array], rows: int, *, finite: bool = True) -> Array:
        """The scores of shape [rows, labels]. One sigmoid is the score of the second of two labels."""
        array = self.values(outputs, rows, finite=finite).reshape(rows, -1)
        if self.sigmoid:
            return np.concatenate([1 - array, array], axis=1)
        if array.shape[1] != len(self.labels):
            raise ModelFailed(
                f"output {self.output!r} has {array.shape[1]} columns, but the model has {len(self.labels)} labels"
            )
        return array

    def values(self, outputs: Mapping[str, Array], rows: int, *, finite: bool = True) -> Array:
        """The answers of shape [rows, ...].

        With `finite`, raises InvalidInput for NaN and infinity, which JSON cannot carry and which make no label the
        most probable.
        """
        assert self.output is not None
        array = outputs[self.output]
        if array.shape[:1] != (rows,):
            raise ModelFailed(f"output {self.output!r} has shape {list(array.shape)}, expected {rows} rows")
        if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.argwhere(~np.isfinite(array))[0][0])
            try:
                check_json_numbers(array, self.output, OIP_INSTEAD)
            except InvalidInput as error:
                raise InvalidInput.at(f"instances[{row}]", f"the model's {error.fields[0].reason}") from None
        return array.astype(np.float32) if array.dtype == np.float16 else array


def _label_output(outputs: Sequence[TensorSpec]) -> str | None:
    """The only output that has one label for each row, as its name says."""
    found = [
        spec.name
        for spec in outputs
        if spec.datatype in _LABELS and spec.shape in ((-1,), (-1, 1)) and not spec.any_rank
        if any(word in spec.name.lower() for word in ("label", "class", "predict"))
    ]
    return found[0] if len(found) == 1 else None


def _scores(outputs: Sequence[TensorSpec], labels: int) -> TensorSpec | None:
    """The output with a score for each label, or the one with a single score for two labels."""
    floats = [spec for spec in outputs if spec.datatype in _FLOATS and spec.shape[:1] == (-1,) and not spec.any_rank]
    for spec in floats:
        if len(spec.shape) == 2 and spec.shape[1] in (labels, -1):
            return spec
    return next((spec for spec in floats if labels == 2 and _width(spec) == 1), None)


def _width(spec: TensorSpec) -> int | None:
    """The number of values for each row, None when it is free."""
    return None if -1 in spec.shape[1:] or spec.any_rank else int(np.prod(spec.shape[1:], dtype=np.int64))
