"""From a classifier's outputs to labels with probabilities, whatever the model's outputs are."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from common.endpoints.backend import ModelHandle
from common.endpoints.row_answers import RowAnswers
from common.errors import NotFound
from common.protocol.tensors import Array
from common.protocol.values import OIP_INSTEAD, check_json_numbers


def most_probable(model: ModelHandle, outputs: Mapping[str, Array], top: int) -> list[tuple[str, float]]:
    """The predicted label of the first row and the most probable others, `top` in all, with their probabilities.

    They are the graph's outputs `labels` and `scores`, or else the output that `RowAnswers` finds, also for one sigmoid
    and two labels. Scores that are no probabilities are taken as logits, which a softmax turns into probabilities.
    """
    for name, array in outputs.items():  # NaN would be chosen as the greatest
        check_json_numbers(array, name, OIP_INSTEAD)
    if "labels" in outputs:
        return list(zip(map(_text, outputs["labels"][0, :top]), outputs["scores"][0, :top].tolist(), strict=True))
    labels: list[str] = json.loads(model.properties["labels"])
    answers = RowAnswers(model.outputs, labels)
    if answers.output is None or not answers.labels:
        raise NotFound(f"model {model.name!r} has no output with a score for each label; send requests to /v2")
    scores = answers.scores(outputs, len(outputs[answers.output]))
    first, shares = answers.predicted(outputs, scores)[0], scores[0].astype(np.float64)
    if shares.min() < 0 or abs(shares.sum() - 1) > 0.01:
        powers = np.exp(shares - shares.max())
        shares = powers / powers.sum()
    others = [one for one in np.argsort(-shares, kind="stable").tolist() if one != first]
    return [(labels[one], float(shares[one])) for one in [first, *others][:top]]


def _text(label: str | bytes) -> str:
    return label.decode() if isinstance(label, bytes) else str(label)
