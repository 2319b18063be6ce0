"""The feature store goes and comes back: questions about items are refused in time, all others are answered."""

from __future__ import annotations

import httpx
import pytest

from runtimes.base import Stack
from tests.asking.parallel import ITEMS, ROWS, ask, predicted
from tests.conftest import Start
from tests.support import eventually

TIMEOUT, SLACK = 1.0, 1.0


@pytest.fixture(scope="module", params=["proxy", "predictors"])
def stack(request: pytest.FixtureRequest, start_shared: Start) -> Stack:
    """The same as the behaviour tests have; each test leaves it whole."""
    return start_shared("parallel", "features", FETCH=request.param)


def refused(stack: Stack, seconds: float) -> httpx.Response:
    """Asks about items within so many seconds, which fails because of the store."""
    answer = ask(stack, {"items": ITEMS}, X_Request_Timeout_Seconds=str(seconds))
    assert (answer.status_code, answer.json()["title"]) == (503, "Not ready")  # the same whoever fetches
    assert answer.elapsed.total_seconds() < seconds + SLACK
    return answer


def healed(stack: Stack) -> None:
    """Items are answered again, as their features are."""
    eventually(lambda: ask(stack, {"items": ITEMS}).status_code == 200, 15, "items are answered again")
    labels = [said["label"] for said in ask(stack, {"items": ITEMS}).json()["predictions"]]
    assert labels == [said["label"] for said in predicted(stack, *ROWS)["predictions"]]


def test_a_killed_store_is_named_and_filled_again_when_it_is_back(stack: Stack) -> None:
    stack.kill("redis")
    try:
        answer = refused(stack, 1.5)
        assert answer.json()["detail"].startswith("the feature store (redis) ")
        assert answer.headers["Retry-After"] == "1"
        assert refused(stack, 10).elapsed.total_seconds() < TIMEOUT + SLACK  # the store's own time, not the caller's
        assert predicted(stack, *ROWS)["missing"] == {}
        assert httpx.get(f"{stack.url()}/readyz", timeout=10).status_code == 200
    finally:
        stack.start("redis")
    healed(stack)


def test_a_frozen_store_is_not_waited_for_beyond_the_deadline(stack: Stack) -> None:
    stack.freeze("redis")
    try:
        for _ in range(3):
            assert refused(stack, 0.4).json()["detail"] == "the feature store (redis) did not respond in time"
        assert predicted(stack, *ROWS)["missing"] == {}
    finally:
        stack.thaw("redis")
    healed(stack)
