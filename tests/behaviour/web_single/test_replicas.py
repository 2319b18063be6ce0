"""The variant `replicas`: every replica answers, and one that dies under load costs no request."""

from __future__ import annotations

import asyncio
import shutil

import httpx
import pytest

from runtimes.base import Stack
from runtimes.errors import NoLocalSubstitute
from tests.conftest import Start
from tests.load import Load, request
from tests.support import INFER, SETOSA, eventually, labels, metric, question

REPLICAS = ("api-1", "api-2")
CALLERS = 8


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    try:
        return start_for_module("web_single", "replicas")
    except NoLocalSubstitute as error:
        if shutil.which("nginx"):
            raise
        pytest.skip(str(error))


def answered(stack: Stack) -> list[float]:
    """How many inferences each running replica has answered."""
    return [metric(url, "serving_requests_total", method="POST", code="200") for url in stack.replicas("api")]


def right(body: bytes) -> bool:
    return body.startswith(b'{"model_name":"iris","model_version":"1","outputs":[')


def test_every_replica_answers(http: httpx.Client, stack: Stack) -> None:
    before = answered(stack)
    assert len(before) == len(REPLICAS)
    sent = 0

    def all_have() -> bool:
        nonlocal sent
        for _ in range(20):
            # a cluster's Service spreads connections, a balancer requests
            answer = http.post(stack.url() + INFER, json=question(SETOSA), headers={"Connection": "close"})
            assert labels(answer.json()) == [0]
            sent += 1
        return min(gained()) > 0

    def gained() -> list[float]:
        return [after - was for after, was in zip(answered(stack), before, strict=True)]

    # the rules of a cluster's nodes follow a replica's readiness by up to a second
    eventually(all_have, 10, "every replica has answered")
    assert sum(gained()) == sent


def test_request_id_and_errors_pass_through_the_balancer(http: httpx.Client, stack: Stack) -> None:
    answer = http.post(stack.url() + INFER, json={}, headers={"X-Request-ID": "order-66"})
    assert answer.status_code == 400
    assert "inputs" in answer.json()["error"]
    assert answer.headers["X-Request-ID"] == "order-66"


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_replica_that_goes_under_load_costs_no_request(stack: Stack, how: str) -> None:
    async with Load(stack.url(), [request(INFER, question(SETOSA))], right, callers=CALLERS) as load:
        await load.answered(200)
        await asyncio.to_thread(getattr(stack, how), REPLICAS[0])
        await load.answered(load.tally.answered + 400)
        await asyncio.to_thread(stack.start, REPLICAS[0])
        await load.answered(load.tally.answered + 200)
    # behind a balancer none is; without one, those in flight on a killed pod are, and a client asks again
    most_lost = CALLERS if (stack.runtime, how) == ("kubernetes", "kill") else 0
    assert len(load.tally.lost) <= most_lost
    assert load.tally.wrong == []
    assert load.tally.statuses == {200: load.tally.sent - len(load.tally.lost)}


def test_a_caller_is_told_when_nobody_answers(http: httpx.Client, stack: Stack) -> None:
    for replica in REPLICAS:
        stack.kill(replica)
    try:
        if stack.runtime == "kubernetes":
            with pytest.raises(httpx.TransportError):
                http.post(stack.url() + INFER, json=question(SETOSA), timeout=5)
        else:
            answer = http.post(stack.url() + INFER, json=question(SETOSA))
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "1"
            assert answer.json()["detail"] == "no replica is reachable"
    finally:
        for replica in REPLICAS:
            stack.start(replica)
    eventually(lambda: http.post(stack.url() + INFER, json=question(SETOSA)).status_code == 200, 20, "an answer again")
