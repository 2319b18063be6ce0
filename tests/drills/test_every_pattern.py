"""What holds for every pattern, whatever is stopped, killed or frozen: its entry, or a service behind it.

On containers all rows; on local processes those that start at once, a service with a model and a proxy.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from runtimes.base import Stack
from tests.conftest import starting
from tests.drills.faults import frozen, is_alive, kill_and_await_restart, killed, unready, uptime
from tests.drills.rows import ROWS, SLACK, Drilled
from tests.load import Load, first_unready
from tests.support import direct_url, eventually, exit_code, soon

GRACE = 25.0  # seconds: less than stop_grace_period in the compose files, after which the engine kills
PATIENCE = 1.0  # seconds: the deadline of a request that needs a frozen service
CALLERS = 2  # of each kind: those that keep their connection, and those that open one for each request


def cases(*of_row: tuple[Any, ...]) -> list[Any]:
    """Parameters that begin with a row, with the runtimes that the row is for."""
    runtimes = {True: pytest.mark.runs_on("local", "compose"), False: pytest.mark.runs_on("compose")}
    return [pytest.param(*one, marks=runtimes[one[0].quick], id="-".join(map(str, one))) for one in of_row]


def for_each(*of_row: tuple[Drilled, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("row", "service"), cases(*of_row), indirect=["row"], scope="module")


BEHIND = [(row, service) for row in ROWS for service in row.behind]
quick_rows = pytest.mark.parametrize(
    "row", cases(*((row,) for row in ROWS if row.quick)), indirect=True, scope="module"
)
every_service_behind = for_each(*BEHIND)
one_service_of_each_pattern = for_each(*{row.pattern: (row, service) for row, service in reversed(BEHIND)}.values())


@pytest.fixture(scope="module")
def row(request: pytest.FixtureRequest) -> Drilled:
    found: Drilled = request.param
    return found


@pytest.fixture(scope="module")
def stack(row: Drilled, runtime: str) -> Iterator[Stack]:
    """One stack for all drills of a row, each of which leaves it as it was."""
    with starting(runtime) as start:
        yield start(row.pattern, row.variant, DRAIN_DELAY_SECONDS="0.3")


def assert_all_answered(*loads: Load) -> None:
    for load in loads:
        tally = load.tally
        assert (tally.lost, tally.wrong) == ([], [])
        assert tally.statuses == {200: tally.sent}


@quick_rows
async def test_a_stop_under_load_loses_no_request_and_refuses_nobody_before_it_says_unready(
    stack: Stack, row: Drilled
) -> None:
    """With new connections as well as kept ones; tests/conformance has the latter for all rows."""
    base = direct_url(stack, row.entry)
    kept = Load(base, [row.request()], row.is_right, callers=CALLERS)
    fresh = Load(base, [row.request(Connection="close")], row.is_right, callers=CALLERS)
    async with kept, fresh:
        await kept.answered(row.full_flow)
        await fresh.answered(row.full_flow)
        watch = asyncio.create_task(first_unready(base))
        await asyncio.to_thread(stack.signal, row.entry, signal.SIGTERM)
        unready_at = await asyncio.wait_for(watch, GRACE)
        await kept.refused(GRACE)
        await fresh.refused(GRACE)
    assert_all_answered(kept, fresh)
    assert unready_at < min(kept.tally.refused_at + fresh.tally.refused_at)
    await soon(lambda: exit_code(stack, row.entry) is not None, "the entry has ended", GRACE)
    assert exit_code(stack, row.entry) == 0
    await asyncio.to_thread(stack.start, row.entry)
    assert await asyncio.to_thread(row.works, stack)


@quick_rows
def test_a_frozen_entry_answers_no_probe_until_it_goes_on(stack: Stack, row: Drilled) -> None:
    base = direct_url(stack, row.entry)
    with frozen(stack, row.entry):
        for path in ("/livez", "/readyz"):
            with pytest.raises(httpx.ReadTimeout):
                httpx.get(base + path, timeout=0.5)
        assert {one.state for one in stack.status() if one.service == row.entry} == {"frozen"}
    eventually(lambda: row.works(stack), 10, "it answers again")


@every_service_behind
def test_a_frozen_service_costs_a_request_its_deadline_and_no_more(stack: Stack, row: Drilled, service: str) -> None:
    before = uptime(stack, row.entry)
    with frozen(stack, service):
        response, took = row.ask(stack, PATIENCE)
        assert response.status_code == 504
        assert row.behind[service] in response.json()["detail"]
        assert PATIENCE <= took < PATIENCE + SLACK
        assert eventually(lambda: unready(stack, row.entry), 10, "the entry says that it is not ready")
        assert is_alive(stack, row.entry)  # a restart would mend nothing
    eventually(lambda: not unready(stack, row.entry), 10, "the entry is ready again")
    assert row.works(stack)
    assert uptime(stack, row.entry) > before


@one_service_of_each_pattern
async def test_a_killed_service_is_named_until_it_is_back_and_no_request_goes_without_a_response(
    stack: Stack, row: Drilled, service: str
) -> None:
    before = await asyncio.to_thread(uptime, stack, row.entry)
    async with Load(direct_url(stack, row.entry), [row.request()], lambda _: True, callers=CALLERS) as load:
        await load.answered(2)
        await asyncio.to_thread(assert_named_while_killed, stack, row, service)
        await soon(lambda: not unready(stack, row.entry), "the entry is ready again")
    assert load.tally.lost == []
    assert load.tally.statuses.keys() <= {200, 502, 503}
    assert await asyncio.to_thread(row.works, stack)
    assert await asyncio.to_thread(uptime, stack, row.entry) > before


def assert_named_while_killed(stack: Stack, row: Drilled, service: str) -> None:
    with killed(stack, service):
        response, took = row.ask(stack, 10)
        assert response.status_code in (502, 503)
        assert row.behind[service] in response.json()["detail"]
        assert took < 5
        named = row.behind[service].removeprefix("predictor ")
        eventually(lambda: named in unready(stack, row.entry), 10, f"the entry says that {named} is not ready")
        assert is_alive(stack, row.entry)


@one_service_of_each_pattern
async def test_a_service_that_is_stopped_under_load_leaves_no_request_without_a_response(
    stack: Stack, row: Drilled, service: str
) -> None:
    """Alone it cannot be replaced: callers are told 502 or 503 until it is back."""
    async with Load(direct_url(stack, row.entry), [row.request()], lambda _: True, callers=CALLERS) as load:
        await load.answered(2)
        await asyncio.to_thread(stack.stop, service)
        await asyncio.to_thread(stack.start, service)
        await soon(lambda: not unready(stack, row.entry), "the entry is ready again")
        await load.answered(load.tally.answered + 2)
    assert load.tally.lost == []
    assert load.tally.statuses.keys() <= {200, 502, 503}


@quick_rows
async def test_a_killed_entry_loses_only_what_was_in_flight_and_answers_once_it_is_started_again(
    stack: Stack, row: Drilled
) -> None:
    async with Load(direct_url(stack, row.entry), [row.request()], row.is_right, callers=CALLERS) as load:
        await load.answered(2)
        await asyncio.to_thread(kill_and_await_restart, stack, row.entry)
    await soon(lambda: row.works(stack), "it answers again", 30)
    assert load.tally.wrong == []
    assert len(load.tally.lost) <= 2 * CALLERS  # a caller that was cut off may be so again by the dying listener
