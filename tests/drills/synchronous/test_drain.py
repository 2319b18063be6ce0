"""SIGTERM loses no accepted request; of jobs it says honestly what it keeps: who is asking gets the result."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import httpx
import pytest

from runtimes.base import Stack
from tests.asking.synchronous import CAT, COFFEE
from tests.conftest import Start
from tests.load import Load, connect, read_answer, request
from tests.support import direct_url, eventually, exit_code, log_lines, metric, readiness, soon

GRACE = 25.0


@pytest.fixture(scope="module")
def service(start_for_module: Start) -> Stack:
    return start_for_module("synchronous", FAULTS="true", DRAIN_DELAY_SECONDS="1")


@pytest.fixture
def stack(service: Stack) -> Iterator[Stack]:
    """Up at the start of each test, which ends it."""
    if exit_code(service) is not None:
        service.start("api")
    yield service
    eventually(lambda: exit_code(service) is not None, GRACE, "the service has ended")
    assert exit_code(service) == 0


def photo(body: bytes, prefer: str = "") -> bytes:
    raw = request("/classify", body).replace(b"application/json", b"image/jpeg")
    return raw.replace(b"\r\n", f"\r\nPrefer: {prefer}\r\n".encode(), 1) if prefer else raw


async def test_what_was_sent_is_answered(stack: Stack) -> None:
    async with Load(direct_url(stack), [photo(CAT), photo(COFFEE)], lambda body: b"predictions" in body, 4) as load:
        await load.answered(20)
        await asyncio.to_thread(stack.signal, "api", signal.SIGTERM)
        await load.refused(GRACE)
    assert load.tally.lost == []
    assert load.tally.wrong == []
    assert load.tally.sent == load.tally.answered == load.tally.statuses[200]


async def test_who_asks_for_a_job_while_it_drains_gets_it_and_no_new_one_is_made(stack: Stack) -> None:
    base = direct_url(stack)
    async with httpx.AsyncClient(base_url=base, timeout=GRACE) as client:
        await client.post("/faults", json={"latency_seconds": 1.5})
        headers = {"Content-Type": "image/jpeg", "Prefer": "respond-async"}
        path = (await client.post("/classify", content=COFFEE, headers=headers)).headers["Location"]
        poll = asyncio.create_task(client.get(f"{path}?wait=10"))
        await soon(lambda: metric(base, "serving_requests_in_progress") == 2, "the question is there")
        await asyncio.to_thread(stack.signal, "api", signal.SIGTERM)
        await soon(lambda: readiness(stack).status_code == 503, "it drains")
        late = await client.post("/classify", content=CAT, headers=headers)
        assert (late.status_code, "Location" in late.headers) == (200, False)
        assert (await poll).json()["result"]["predictions"][0]["label"] == "espresso"


async def test_a_job_that_nobody_asks_for_is_lost_and_the_log_says_so(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=direct_url(stack), timeout=GRACE) as client:
        await client.post("/faults", json={"latency_seconds": 60})
        headers = {"Content-Type": "image/jpeg", "Prefer": "respond-async"}
        assert (await client.post("/classify", content=CAT, headers=headers)).status_code == 202
        await asyncio.to_thread(stack.signal, "api", signal.SIGTERM)
    await soon(lambda: exit_code(stack) is not None, "it does not wait for it", GRACE)
    (line,) = log_lines(stack, event="jobs lost with their process")
    assert line["jobs"] == 1


async def test_a_picture_that_is_still_arriving_is_waited_for(stack: Stack) -> None:
    reader, writer = await connect(direct_url(stack))
    writer.write(photo(COFFEE)[:-1000])
    await soon(lambda: metric(direct_url(stack), "serving_requests_in_progress") == 2, "its head is there")
    await asyncio.to_thread(stack.signal, "api", signal.SIGTERM)
    await soon(lambda: readiness(stack).status_code == 503, "it drains")
    writer.write(photo(COFFEE)[-1000:])
    status, _, body = await asyncio.wait_for(read_answer(reader), GRACE)
    writer.close()
    assert status == 200
    assert b'"espresso"' in body
