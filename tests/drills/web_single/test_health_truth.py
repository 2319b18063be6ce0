"""Health tells the truth both ways: what is stuck turns unready and then dead in time; long healthy work is spared."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from runtimes.base import Stack
from tests.conftest import Start
from tests.support import INFER, SETOSA, client, eventually, labels, question

pytestmark = pytest.mark.runs_on("local")

STUCK = 1.0
SLACK = 1.5  # what a busy machine may add


@pytest.fixture(scope="module")
def service(start_for_module: Start) -> Stack:
    return start_for_module("web_single", FAULTS="true", STUCK_SECONDS=str(STUCK))


@pytest.fixture
def stack(service: Stack) -> Iterator[Stack]:
    yield service
    switch(service)


def switch(stack: Stack, **faults: object) -> None:
    assert httpx.post(f"{stack.url('api')}/faults", json=faults, timeout=10).status_code == 200


def probe(stack: Stack, path: str) -> int:
    return client().get(stack.url("api") + path).status_code  # which leads to it ready or not


class Held:
    """An inference in a thread of its own; `answer` is there once it has come."""

    def __init__(self, stack: Stack) -> None:
        self.answer: httpx.Response | None = None
        self._url = stack.url("api") + INFER
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        self.answer = httpx.post(self._url, json=question(SETOSA), timeout=30)

    def come(self) -> httpx.Response:
        self._thread.join(30)
        assert self.answer is not None
        return self.answer


def test_a_stuck_session_turns_unready_then_dead_and_recovers(stack: Stack) -> None:
    switch(stack, hang=True)
    start = time.monotonic()
    held = Held(stack)
    eventually(lambda: probe(stack, "/readyz") == 503, STUCK + SLACK, "unready")
    assert time.monotonic() - start > STUCK
    eventually(lambda: probe(stack, "/livez") == 503, 2 * STUCK + SLACK, "not alive")
    assert time.monotonic() - start > 2 * STUCK
    reasons = httpx.get(f"{stack.url('api')}/livez").json()["reasons"]
    assert "an inference has been running for" in reasons[0]
    assert httpx.get(f"{stack.url('api')}/v2/health/live").json() == {"live": False}
    assert httpx.get(f"{stack.url('api')}/v2/health/ready").json() == {"ready": False}

    switch(stack)
    assert held.come().status_code == 200
    eventually(lambda: probe(stack, "/livez") == probe(stack, "/readyz") == 200, 2, "alive and ready again")


def test_long_but_healthy_work_is_spared(stack: Stack) -> None:
    switch(stack, latency_seconds=0.6 * STUCK)
    end = time.monotonic() + 3 * STUCK
    held = [Held(stack) for _ in range(2)]
    while time.monotonic() < end:
        assert (probe(stack, "/livez"), probe(stack, "/readyz")) == (200, 200)
        if held[0].answer is not None:
            assert labels(held.pop(0).come().json()) == [0]
            held.append(Held(stack))
        time.sleep(0.05)
    switch(stack)
    assert all(one.come().status_code == 200 for one in held)


def test_a_model_that_fails_fast_is_alive(stack: Stack) -> None:
    switch(stack, error_share=1.0)
    answer = httpx.post(stack.url("api") + INFER, json=question(SETOSA), timeout=10)
    assert answer.status_code == 500
    assert "injected" in answer.json()["error"]
    assert (probe(stack, "/livez"), probe(stack, "/readyz")) == (200, 200)
