"""A half is killed, frozen, slow or wrong: the caller hears the documented answer in time, and nothing is restarted."""

from __future__ import annotations

from typing import Any

import pytest

from runtimes.base import Stack
from tests.asking.prep_pred import ENTRY, start_layout
from tests.conftest import Start
from tests.drills.prep_pred.halves import SLACK, ask, frozen, healed, killed, switched, unready
from tests.support import eventually

LAYOUTS = (None, "proxy")
HALVES = [(None, "predictor"), ("proxy", "predictor"), ("proxy", "prep")]
PATIENCE = 1.0

every_half = pytest.mark.parametrize(("layout", "half"), HALVES, ids=lambda one: one or "default")
every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda one: one or "default")


@pytest.fixture
def stack(layout: str | None, start_shared: Start) -> Stack:
    return start_layout(start_shared, layout, FAULTS="true")


def uptime(stack: Stack, layout: str | None) -> float:
    (found,) = (one.uptime_seconds for one in stack.status() if one.service == ENTRY[layout])
    assert found is not None
    return found


@every_half
def test_a_killed_half_is_502_until_it_is_back(stack: Stack, layout: str | None, half: str) -> None:
    before = uptime(stack, layout)
    with killed(stack, half):
        answer, took = ask(stack, 5)
        assert answer.status_code == 502
        assert f"predictor {half}.penguins" in answer.json()["detail"]
        assert took < 5
        eventually(lambda: f"{half}.penguins cannot answer" in unready(stack, layout), 5, "the entry says why")
    healed(stack, layout)
    assert uptime(stack, layout) > before


@every_half
def test_a_frozen_half_is_504_at_the_deadline(stack: Stack, layout: str | None, half: str) -> None:
    with frozen(stack, half):
        answer, took = ask(stack, PATIENCE)
        assert answer.status_code == 504
        assert answer.json()["detail"] == f"predictor {half}.penguins gave no answer before the deadline"
        assert PATIENCE <= took < PATIENCE + SLACK
        assert eventually(lambda: unready(stack, layout), 5, "the entry says that it is not ready")
    healed(stack, layout)


@every_layout
def test_a_slow_predictor_is_504_at_the_deadline(stack: Stack, layout: str | None) -> None:
    with switched(stack, latency_seconds=PATIENCE + SLACK):
        answer, took = ask(stack, PATIENCE)
        assert answer.status_code == 504
        assert PATIENCE <= took < PATIENCE + SLACK
    healed(stack, layout)


@every_layout
def test_a_predictor_whose_answer_has_the_wrong_shape_is_502_and_no_label(stack: Stack, layout: str | None) -> None:
    with switched(stack, narrow=True):
        answer, took = ask(stack, 5)
        assert answer.status_code == 502
        assert "the predictor gave probabilities of shape [1, 2], not [1, 3]" in answer.json()["detail"]
        assert took < 5
    healed(stack, layout)


@every_layout
def test_a_predictor_whose_model_fails_is_502_in_its_words(stack: Stack, layout: str | None) -> None:
    with switched(stack, error_share=1.0):
        answer, took = ask(stack, 5)
        assert answer.status_code == 502
        told: dict[str, Any] = answer.json()
        assert "predictor.penguins answered 500: an injected fault" in told["detail"]
        assert took < 5
    healed(stack, layout)
