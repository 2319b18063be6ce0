"""How several classifiers' probabilities become one answer, on rows made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from patterns.parallel.aggregate import aggregate, predictions
from patterns.parallel.settings import Aggregation

LABELS = ("a", "b", "c")


def shares(*rows: list[float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(rows, np.float32)


def test_a_tied_vote_goes_to_the_label_that_is_more_probable_on_average() -> None:
    for sure, unsure, winner in (([0.9, 0.1, 0.0], [0.3, 0.6, 0.1], "a"), ([0.6, 0.3, 0.1], [0.1, 0.9, 0.0], "b")):
        (said,) = predictions("vote", {"one": shares(sure), "two": shares(unsure)}, LABELS)
        assert said == {"label": winner, "votes": {"a": 1, "b": 1, "c": 0}}


def test_a_vote_outweighs_any_probability() -> None:
    sure, others = shares([1.0, 0.0, 0.0]), shares([0.49, 0.51, 0.0])
    (said,) = predictions("vote", {"one": sure, "two": others, "three": others}, LABELS)
    assert said["label"] == "b"
    (said,) = predictions("mean", {"one": sure, "two": others, "three": others}, LABELS)
    assert said["label"] == "a"


def test_best_is_chosen_row_by_row_and_the_first_of_equals() -> None:
    answers = {"one": shares([0.9, 0.1, 0.0], [0.4, 0.6, 0.0]), "two": shares([0.1, 0.9, 0.0], [0.0, 0.2, 0.8])}
    assert [(said["label"], said["by"]) for said in predictions("best", answers, LABELS)] == [
        ("a", "one"),
        ("c", "two"),
    ]


@pytest.mark.parametrize("how", ["vote", "mean", "best", "all"])
def test_a_single_predictor_is_the_answer(how: Aggregation) -> None:
    label, probabilities, _ = aggregate(how, [shares([0.2, 0.7, 0.1], [0.8, 0.1, 0.1])])
    assert label.tolist() == [1, 0]
    assert probabilities.dtype == np.float32
    assert probabilities.sum(axis=1) == pytest.approx([1, 1])
