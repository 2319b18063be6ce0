"""Combines the probabilities of several classifiers into one prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.protocol.tensors import Array
from patterns.parallel.member import labelled
from patterns.parallel.settings import How


def combined(how: How, answers: Sequence[Array]) -> tuple[Array, Array, Array | None]:
    """Label indices [rows], shares [rows, labels] and, for `best`, the index of the chosen classifier [rows].

    `answers` are probabilities [rows, labels]. The shares are probabilities as well, or for `vote` the shares of the
    votes. A tied vote goes to the label that is more probable on average.
    """
    mean = sum(answers[1:], answers[0]) / len(answers)  # numpy takes five times as long to stack small arrays first
    if how in ("mean", "all"):
        return mean.argmax(axis=1), mean, None
    stack = np.stack(answers)
    if how == "best":
        who = stack.max(axis=2).argmax(axis=0)
        shares = stack[who, np.arange(stack.shape[1])]
        return shares.argmax(axis=1), shares, who
    votes = (stack.argmax(axis=2)[..., None] == np.arange(stack.shape[2])).sum(axis=0)
    label = (votes + mean / 2).argmax(axis=1)  # a mean is at most 1, so half of it never outweighs a vote
    return label, (votes / len(stack)).astype(np.float32), None


def predictions(how: How, answers: Mapping[str, Array], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The combined predictions as JSON objects, one for each row."""
    tops, shares, who = combined(how, list(answers.values()))
    if how == "vote":
        votes = np.rint(shares * len(answers)).astype(int).tolist()
        return [
            {"label": labels[top], "votes": dict(zip(labels, row, strict=True))}
            for top, row in zip(tops, votes, strict=True)
        ]
    rows = labelled(shares, labels, tops)
    if who is not None:
        names = list(answers)
        for row, index in zip(rows, who, strict=True):
            row["by"] = names[index]
    return rows
