"""SIGTERM under load loses no request that a service has accepted."""

from __future__ import annotations

import asyncio
import signal

import pytest

from runtimes.base import Stack
from tests.asking.prep_pred import ENTRY, PENGUIN, start_layout
from tests.conftest import Start
from tests.load import Load, request
from tests.support import direct_url, exit_code, soon

GRACE = 25.0


@pytest.mark.parametrize("layout", [None, "proxy"], ids=lambda layout: layout or "default")
async def test_an_entry_that_is_stopped_answers_what_was_sent(start_shared: Start, layout: str | None) -> None:
    stack = await asyncio.to_thread(start_layout, start_shared, layout, FAULTS="true")
    asked = request("/predict/penguins", {"instances": [PENGUIN]})
    async with Load(direct_url(stack, ENTRY[layout]), [asked], right, callers=8) as load:
        await load.answered(100)
        await asyncio.to_thread(stack.signal, ENTRY[layout], signal.SIGTERM)
        await load.refused(GRACE)
    assert load.tally.lost == []
    assert load.tally.wrong == []
    assert load.tally.statuses == {200: load.tally.sent}
    await soon(lambda: exit_code(stack, ENTRY[layout]) is not None, "the service has ended", GRACE)
    assert exit_code(stack, ENTRY[layout]) == 0
    await asyncio.to_thread(stack.start, ENTRY[layout])


def right(body: bytes) -> bool:
    return body.startswith(b'{"predictions":[{"label":"Gentoo"')


async def test_a_predictor_that_is_stopped_fails_nobody_without_saying_so(start_shared: Start) -> None:
    """Alone it cannot be replaced: its callers hear 502 or 503, in time, until it is back. Two of them can."""
    stack: Stack = await asyncio.to_thread(start_layout, start_shared, None, FAULTS="true")
    asked = request("/predict/penguins", {"instances": [PENGUIN]})
    async with Load(stack.url(), [asked], lambda _: True, callers=4) as load:
        await load.answered(50)
        await asyncio.to_thread(stack.stop, "predictor")
        await load.answered(load.tally.answered + 20)
        await asyncio.to_thread(stack.start, "predictor")
        await load.answered(load.tally.answered + 50)
    assert load.tally.lost == []
    assert load.tally.statuses.keys() <= {200, 502, 503}
