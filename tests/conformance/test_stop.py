"""What ends is drained, and what is missing is told and comes back. Each test leaves the stack with a service less."""

from __future__ import annotations

import asyncio
import signal
from functools import partial

import httpx
import pytest

from tests.conformance.served import Served
from tests.load import Load, first_unready, request
from tests.rows import Request
from tests.support import client, direct_url, eventually, exit_code, readiness, soon

GRACE = 40.0
pytestmark = pytest.mark.last


def as_sent(asked: Request) -> bytes:
    """The request as it goes over the wire."""
    return request(asked.path, asked.content, media=asked.content_type)


def right(asked: Request, body: bytes) -> bool:
    try:
        asked.check(httpx.Response(200, content=body).json())
    except (AssertionError, ValueError, KeyError):
        return False
    return True


def test_a_service_that_is_missing_makes_the_entry_unready_and_comes_back(served: Served) -> None:
    if not served.row.behind:
        pytest.skip("nothing stands behind the entry")
    stopped, named = next(iter(served.row.behind.items()))
    served.stack.stop(stopped)
    try:
        answer = eventually(lambda: unready(served), 20, "the entry says that it is unready")
        assert answer.json()["reasons"]
        assert client().get(f"{direct_url(served.stack, served.row.entry)}/livez").status_code == 200
        if served.stack.runtime != "kubernetes":  # a cluster leads nobody to an entry that is unready
            refused = served.send(served.row.requests[0])
            assert refused.status_code in (502, 503, 504), refused.text
            assert named in refused.json()["detail"]
    finally:
        served.stack.start(stopped)
    eventually(lambda: readiness(served.stack, served.row.entry).status_code == 200, 20, "the entry is ready again")
    eventually(lambda: served.send(served.row.requests[0]).status_code == 200, 20, "it answers again")
    served.answered(served.row.requests[0])


def unready(served: Served) -> httpx.Response | None:
    answer = readiness(served.stack, served.row.entry)
    return answer if answer.status_code == 503 else None


async def test_a_drained_service_answers_every_accepted_request(served: Served) -> None:
    asked = served.row.requests[0]
    if served.balanced:
        await drain_one_replica(served, asked)
        return
    base, entry = direct_url(served.stack, served.row.entry), served.row.entry
    async with Load(base, [as_sent(asked)], partial(right, asked), callers=served.row.callers) as load:
        await load.answered(2 * served.row.callers)
        watch = asyncio.create_task(first_unready(base))
        await asyncio.to_thread(served.stack.signal, entry, signal.SIGTERM)
        unready_at = await asyncio.wait_for(watch, GRACE)
        await load.refused(GRACE)
    tally = load.tally
    assert tally.lost == []
    assert tally.wrong == []
    assert tally.sent == tally.answered == tally.statuses[200]
    assert unready_at < min(tally.refused_at)
    await soon(lambda: exit_code(served.stack, entry) is not None, "the service has ended", GRACE)
    assert exit_code(served.stack, entry) == 0


async def drain_one_replica(served: Served, asked: Request) -> None:
    """Behind a balancer, nobody notices that a replica ends."""
    replica = f"{served.row.answering}-1"
    async with Load(served.url, [as_sent(asked)], partial(right, asked), callers=served.row.callers) as load:
        await load.answered(50)
        await asyncio.to_thread(served.stack.signal, replica, signal.SIGTERM)
        await soon(lambda: exit_code(served.stack, replica) is not None, "the replica has ended", GRACE)
        await load.answered(load.tally.answered + 50)
    assert exit_code(served.stack, replica) == 0
    assert (load.tally.lost, load.tally.wrong) == ([], [])
    assert load.tally.statuses == {200: load.tally.sent}
