"""Two predictors behind a balancer: one of them goes under load, and nobody notices."""

from __future__ import annotations

import asyncio

import pytest

from runtimes.base import Stack
from tests.asking.prep_pred import PENGUIN, start_layout
from tests.conftest import Start
from tests.drills.prep_pred.halves import ask
from tests.load import Load, request
from tests.support import eventually, metric

PREDICTOR = "predictor-1"
REQUEST = request("/predict/penguins", {"instances": [PENGUIN]})


@pytest.fixture
def stack(start_shared: Start) -> Stack:
    # On a cluster, every second new connection is refused until it has noticed that a predictor is gone.
    return start_layout(start_shared, "balanced", PREDICTOR_ATTEMPTS="7")


def right(body: bytes) -> bool:
    return body.startswith(b'{"predictions":[{"label":"Gentoo"')


def ran(stack: Stack) -> list[float]:
    """How often each predictor has run the model."""
    name = "serving_inference_duration_seconds_count"
    return [metric(url, name, model="penguins", stage="infer") for url in stack.replicas("predictor")]


async def test_both_predictors_are_asked(stack: Stack) -> None:
    before = ran(stack)
    async with Load(stack.url(), [REQUEST], right, callers=16) as load:  # several, since a cluster balances connections
        await load.answered(200)
    assert (load.tally.wrong, load.tally.statuses) == ([], {200: load.tally.sent})
    assert all(after > was for after, was in zip(ran(stack), before, strict=True))


async def test_a_predictor_that_is_killed_under_load_costs_no_answer(stack: Stack) -> None:
    async with Load(stack.url(), [REQUEST], right, callers=6) as load:
        await load.answered(100)
        await asyncio.to_thread(stack.kill, PREDICTOR)
        await load.answered(load.tally.answered + 200)
        await asyncio.to_thread(stack.start, PREDICTOR)
        await load.answered(load.tally.answered + 100)
    assert load.tally.lost == []
    assert load.tally.wrong == []
    assert load.tally.statuses == {200: load.tally.sent}


def test_without_any_predictor_it_is_503_and_then_heals(stack: Stack) -> None:
    stack.kill("predictor")
    try:
        answer, took = ask(stack, 5)
        if stack.runtime == "kubernetes":  # whose Service, unlike nginx, only refuses
            assert (answer.status_code, "predictor predictor" in answer.json()["detail"]) == (502, True)
        else:
            assert (answer.status_code, "no predictor is reachable" in answer.json()["detail"]) == (503, True)
        assert took < 5
    finally:
        stack.start("predictor")
    eventually(lambda: ask(stack)[0].status_code == 200, 10, "it answers again")
