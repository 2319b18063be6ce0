"""SIGTERM under load loses no page: neither of the proxy nor of a predictor that is replaced meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator

import pytest

from runtimes.base import Stack
from tests.asking.serial import sample
from tests.conftest import Start
from tests.load import Load, connect, read_answer, request
from tests.support import direct_url, eventually, exit_code, soon

GRACE = 25.0


@pytest.fixture(scope="module")
def service(start_for_module: Start) -> Stack:
    return start_for_module("serial", FAULTS="true", DRAIN_DELAY_SECONDS="0.5")


@pytest.fixture
def stack(service: Stack) -> Iterator[Stack]:
    """With its proxy up at the start of each test, which ends it."""
    if exit_code(service, "proxy") is not None:
        service.start("proxy")
    yield service
    eventually(lambda: exit_code(service, "proxy") is not None, GRACE, "the proxy has ended")


def right(body: bytes) -> bool:
    return any("segmentation" in line["text"] for line in json.loads(body)["lines"])


async def test_every_page_that_was_sent_is_answered(stack: Stack) -> None:
    base = direct_url(stack, "proxy")
    async with Load(base, [request("/read", sample("page.jpg"))], right, callers=4) as load:
        await load.answered(8)
        await asyncio.to_thread(stack.signal, "proxy", signal.SIGTERM)
        await load.refused(GRACE)
    tally = load.tally
    assert (tally.lost, tally.wrong) == ([], [])
    assert tally.sent == tally.answered == tally.statuses[200]
    await soon(lambda: exit_code(stack, "proxy") is not None, "the proxy has ended", GRACE)
    assert exit_code(stack, "proxy") == 0


async def test_a_page_in_the_middle_of_its_stages_is_answered(stack: Stack) -> None:
    reader, writer = await connect(direct_url(stack, "proxy"))
    writer.write(request("/read", sample("invoice.jpg")))
    await asyncio.sleep(0.1)
    stack.signal("proxy", signal.SIGTERM)
    status, headers, body = await asyncio.wait_for(read_answer(reader), GRACE)
    writer.close()
    assert status == 200
    assert json.loads(body)["lines"]
    assert headers["connection"] == "close"
    await soon(lambda: exit_code(stack, "proxy") is not None, "the proxy has ended", GRACE)
    assert exit_code(stack, "proxy") == 0
