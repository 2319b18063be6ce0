"""The variant `replicas`: every replica answers, and one that dies under load costs no request."""

from __future__ import annotations

import asyncio
import shutil

import httpx
import pytest

from runtimes.base import Stack
from runtimes.errors import NoStandIn
from tests.conftest import Start
from tests.load import Load, request
from tests.support import INFER, SETOSA, labels, metric, question

REPLICAS = ("api-1", "api-2")


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    try:
        return start_for_module("web_single", "replicas")
    except NoStandIn as error:
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
    for _ in range(40):
        assert labels(http.post(stack.url() + INFER, json=question(SETOSA)).json()) == [0]
    gained = [after - was for after, was in zip(answered(stack), before, strict=True)]
    assert sum(gained) == 40
    assert min(gained) > 0


def test_request_id_and_errors_pass_through_the_balancer(http: httpx.Client, stack: Stack) -> None:
    answer = http.post(stack.url() + INFER, json={}, headers={"X-Request-ID": "order-66"})
    assert answer.status_code == 400
    assert "inputs" in answer.json()["error"]
    assert answer.headers["X-Request-ID"] == "order-66"


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_replica_that_goes_under_load_costs_no_request(stack: Stack, how: str) -> None:
    async with Load(stack.url(), [request(INFER, question(SETOSA))], right, callers=8) as load:
        await load.answered(200)
        await asyncio.to_thread(getattr(stack, how), REPLICAS[0])
        await load.answered(load.tally.answered + 400)
        await asyncio.to_thread(stack.start, REPLICAS[0])
        await load.answered(load.tally.answered + 200)
    assert load.tally.lost == []
    assert load.tally.wrong == []
    assert load.tally.statuses == {200: load.tally.sent}


def test_the_balancer_says_so_when_nobody_answers(http: httpx.Client, stack: Stack) -> None:
    for replica in REPLICAS:
        stack.kill(replica)
    try:
        answer = http.post(stack.url() + INFER, json=question(SETOSA))
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert answer.json()["detail"] == "no replica answers"
    finally:
        for replica in REPLICAS:
            stack.start(replica)
