"""SIGTERM loses no accepted request; a job's result is kept for who is asking for it, and is else logged as lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import httpx
import pytest

from runtimes.base import Stack
from tests.asking.synchronous import CAT, COFFEE
from tests.conftest import Start
from tests.load import connect, read_answer, request
from tests.support import direct_url, eventually, exit_code, log_lines, metric, readiness, soon

pytestmark = pytest.mark.runs_on("local")

GRACE = 25.0


@pytest.fixture(scope="module")
def service(start_for_module: Start) -> Stack:
    return start_for_module("synchronous", FAULTS="true", DRAIN_DELAY_SECONDS="0.7")


@pytest.fixture
def stack(service: Stack) -> Iterator[Stack]:
    """Up at the start of each test, which ends it."""
    if exit_code(service) is not None:
        service.start("api")
    yield service
    eventually(lambda: exit_code(service) is not None, GRACE, "the service has ended")
    assert exit_code(service) == 0


async def test_while_it_drains_a_picture_and_a_result_are_waited_for_and_no_new_job_is_made(stack: Stack) -> None:
    base = direct_url(stack)
    picture = request("/classify", COFFEE, media="image/jpeg")
    reader, writer = await connect(base)
    writer.write(picture[:-1000])
    async with httpx.AsyncClient(base_url=base, timeout=GRACE) as client:
        await client.post("/faults", json={"latency_seconds": 1.0})
        headers = {"Content-Type": "image/jpeg", "Prefer": "respond-async"}
        path = (await client.post("/classify", content=COFFEE, headers=headers)).headers["Location"]
        poll = asyncio.create_task(client.get(f"{path}?wait=10"))
        await soon(
            lambda: metric(base, "serving_requests_in_progress") == 3, "both requests are in flight, and this one"
        )
        await asyncio.to_thread(stack.signal, "api", signal.SIGTERM)
        await soon(lambda: readiness(stack).status_code == 503, "it drains")
        late = await client.post("/classify", content=CAT, headers=headers)
        assert (late.status_code, "Location" in late.headers) == (200, False)
        writer.write(picture[-1000:])
        status, _, body = await asyncio.wait_for(read_answer(reader), GRACE)
        writer.close()
        assert (status, b'"espresso"' in body) == (200, True)
        assert (await poll).json()["result"]["predictions"][0]["label"] == "espresso"


async def test_a_job_that_nobody_asks_for_is_lost_and_the_log_says_so(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=direct_url(stack), timeout=GRACE) as client:
        await client.post("/faults", json={"latency_seconds": 60})
        headers = {"Content-Type": "image/jpeg", "Prefer": "respond-async"}
        assert (await client.post("/classify", content=CAT, headers=headers)).status_code == 202
        await asyncio.to_thread(stack.signal, "api", signal.SIGTERM)
    await soon(lambda: exit_code(stack) is not None, "it does not wait for it", GRACE)
    (line,) = log_lines(stack, event="unfinished jobs cancelled at shutdown")
    assert line["jobs"] == 1
