"""The proxy is there before its predictors are: it says 503 until it knows them, and answers as soon as it does.

Nobody asks /readyz meanwhile, except for the engine's health check of a container, every two seconds: what the proxy
knows of its predictors must not depend on who asks for its readiness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from runtimes.base import Stack
from tests.asking.parallel import COLUMNS, ROWS, SERVICES, instances
from tests.conftest import Start
from tests.support import direct_url, eventually, soon

pytestmark = pytest.mark.runs_on("local", "compose")

FEATURES = {"name": "features", "shape": [1, len(COLUMNS)], "datatype": "FP32", "data": ROWS[0]}
REQUESTS = {
    "/v2/models/parallel/infer": {"inputs": [FEATURES]},
    "/predict": {"instances": instances(ROWS[0])},
}


@pytest.fixture(scope="module")
def service(start_for_module: Start) -> Stack:
    return start_for_module("parallel")


@pytest.fixture
def alone(service: Stack) -> Iterator[Stack]:
    """The proxy, newly started, without its predictors; afterwards everybody is there."""
    for one in ("proxy", *SERVICES.values()):
        service.kill(one)
    service.start("proxy", wait=False)
    eventually(lambda: is_alive(service), 20, "the proxy has opened its port")
    yield service
    for one in SERVICES.values():
        service.start(one)


def is_alive(stack: Stack) -> bool:
    try:
        return httpx.get(f"{direct_url(stack, 'proxy')}/livez", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("path", REQUESTS)
async def test_a_proxy_that_was_there_first_answers_once_its_predictors_are_reachable(alone: Stack, path: str) -> None:
    said: set[int] = set()
    url = direct_url(alone, "proxy") + path

    def answered() -> bool:
        response = httpx.post(url, json=REQUESTS[path], timeout=10)
        assert response.status_code in (200, 503), response.text
        said.add(response.status_code)
        return response.status_code == 200

    assert not await asyncio.to_thread(answered)
    waiting = asyncio.create_task(soon(answered, "the proxy answers", 60))
    for service in SERVICES.values():
        await asyncio.to_thread(alone.start, service, wait=False)
    await waiting
    assert said == {200, 503}
