"""Combines the probabilities of several classifiers into one prediction for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.protocol.tensors import Array
from patterns.parallel.member import classifications
from patterns.parallel.settings import Aggregation


def aggregate(method: Aggregation, answers: Sequence[Array]) -> tuple[Array, Array, Array | None]:
    """Combines the probabilities [rows, labels] of each classifier.

    Returns the index of the predicted label [rows], the combined probabilities [rows, labels] and, for `best`, the
    index of the chosen classifier [rows]. For `vote`, the share of the votes replaces the probability; a tied vote goes
    to the label with the higher mean probability.
    """
    mean = sum(answers[1:], answers[0]) / len(answers)  # numpy takes five times as long to stack small arrays first
    if method in ("mean", "all"):
        return mean.argmax(axis=1), mean, None
    stack = np.stack(answers)
    if method == "best":
        chosen = stack.max(axis=2).argmax(axis=0)
        shares = stack[chosen, np.arange(stack.shape[1])]
        return shares.argmax(axis=1), shares, chosen
    votes = (stack.argmax(axis=2)[..., None] == np.arange(stack.shape[2])).sum(axis=0)
    label = (votes + mean / 2).argmax(axis=1)  # a mean is at most 1, so half of it never outweighs a vote
    return label, (votes / len(stack)).astype(np.float32), None


def predictions(aggregation: Aggregation, answers: Mapping[str, Array], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The combined predictions as JSON objects, one for each row."""
    tops, shares, chosen = aggregate(aggregation, list(answers.values()))
    if aggregation == "vote":
        votes = np.rint(shares * len(answers)).astype(int).tolist()
        return [
            {"label": labels[top], "votes": dict(zip(labels, row, strict=True))}
            for top, row in zip(tops, votes, strict=True)
        ]
    rows = classifications(shares, labels, tops)
    if chosen is not None:
        names = list(answers)
        for row, index in zip(rows, chosen, strict=True):
            row["by"] = names[index]
    return rows
