"""Calls that end while they wait for their turn to be received leave no place in the queue behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from common.endpoints.grpc_messages import RECEIVED_AT_ONCE, Turns


class SilentCall:
    """A call whose message arrives when the test says so."""

    def __init__(self) -> None:
        self.message: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def read(self) -> Any:
        return await self.message


def receive(turns: Turns, call: SilentCall) -> asyncio.Task[Any]:
    return asyncio.create_task(turns.receive(call, 20.0))  # type: ignore[arg-type]  # the part that is used


async def test_later_calls_are_received_after_waiting_ones_were_cancelled() -> None:
    turns = Turns()
    silent = [SilentCall() for _ in range(RECEIVED_AT_ONCE)]
    receiving = [receive(turns, call) for call in silent]
    await asyncio.sleep(0)
    waiting = [receive(turns, SilentCall()) for _ in range(10)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for call in silent:
        call.message.set_result("message")
    assert await asyncio.gather(*receiving) == ["message"] * RECEIVED_AT_ONCE
    later = SilentCall()
    task = receive(turns, later)
    later.message.set_result("later")
    assert await asyncio.wait_for(task, 5) == "later"


async def test_a_turn_that_comes_at_the_moment_of_a_cancellation_goes_on_to_the_next_call() -> None:
    turns = Turns()
    silent = [SilentCall() for _ in range(RECEIVED_AT_ONCE)]
    receiving = [receive(turns, call) for call in silent]
    await asyncio.sleep(0)
    first, second = SilentCall(), SilentCall()
    cancelled, next_one = receive(turns, first), receive(turns, second)
    await asyncio.sleep(0)
    silent[0].message.set_result("message")
    await receiving[0]
    cancelled.cancel()
    second.message.set_result("second")
    assert await asyncio.wait_for(next_one, 5) == "second"
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    for call in silent[1:]:
        call.message.set_result("message")
    await asyncio.gather(*receiving)
