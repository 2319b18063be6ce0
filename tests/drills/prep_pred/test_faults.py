"""A predictor is slow, fails or answers wrongly: the caller is told so in time, and nothing has to be restarted.

tests/drills/test_every_pattern.py kills, freezes and stops each half.
"""

from __future__ import annotations

from typing import Any

import pytest

from runtimes.base import Stack
from tests.asking.prep_pred import start_layout
from tests.conftest import Start
from tests.drills.faults import switched
from tests.drills.prep_pred.halves import SLACK, ask, healed

pytestmark = pytest.mark.runs_on("local")

LAYOUTS = (None, "proxy")
PATIENCE = 0.5

every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda one: one or "default")


@pytest.fixture
def stack(layout: str | None, start_shared: Start) -> Stack:
    return start_layout(start_shared, layout, FAULTS="true")


@every_layout
def test_a_slow_predictor_is_504_at_the_deadline(stack: Stack, layout: str | None) -> None:
    with switched(stack, "predictor", latency_seconds=PATIENCE + SLACK):
        answer, took = ask(stack, PATIENCE)
        assert answer.status_code == 504
        assert PATIENCE <= took < PATIENCE + SLACK
    healed(stack, layout)


@every_layout
def test_a_predictor_whose_answer_has_the_wrong_shape_is_502_and_no_label(stack: Stack, layout: str | None) -> None:
    with switched(stack, "predictor", narrow=True):
        answer, took = ask(stack, 5)
        assert answer.status_code == 502
        assert "the predictor returned probabilities of shape [1, 2], expected [1, 3]" in answer.json()["detail"]
        assert took < 5
    healed(stack, layout)


@every_layout
def test_a_predictor_whose_model_fails_is_502_in_its_words(stack: Stack, layout: str | None) -> None:
    with switched(stack, "predictor", error_share=1.0):
        answer, took = ask(stack, 5)
        assert answer.status_code == 502
        told: dict[str, Any] = answer.json()
        assert "predictor.penguins answered 500: an injected fault" in told["detail"]
        assert took < 5
    healed(stack, layout)
