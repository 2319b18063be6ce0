"""From a classifier's outputs to labels with probabilities, whatever the model's outputs are."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from common.endpoints.backend import ModelHandle
from common.protocol.tensors import Array
from common.protocol.values import OIP_INSTEAD, check_json_numbers


def most_probable(model: ModelHandle, outputs: Mapping[str, Array], top: int) -> list[tuple[str, float]]:
    """The `top` most probable labels of the first row, with their probabilities.

    They are the graph's outputs `labels` and `scores`, or else come from the first output: `probabilities` as they are,
    any other name as logits, which a softmax turns into probabilities.
    """
    for name, array in outputs.items():  # NaN would be chosen as the greatest
        check_json_numbers(array, name, OIP_INSTEAD)
    if "labels" in outputs:
        return list(zip(map(_text, outputs["labels"][0, :top]), outputs["scores"][0, :top].tolist(), strict=True))
    name = model.outputs[0].name
    shares = outputs[name][0].astype(np.float64)
    if name != "probabilities":
        powers = np.exp(shares - shares.max())
        shares = powers / powers.sum()
    labels: list[str] = json.loads(model.properties["labels"])
    return [(labels[one], float(shares[one])) for one in np.argsort(-shares, kind="stable")[:top]]


def _text(label: str | bytes) -> str:
    return label.decode() if isinstance(label, bytes) else str(label)
