"""Calls that end while they wait for their turn to be received leave no place in the queue behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from common.endpoints.grpc_turns import RECEIVED_AT_ONCE, Turns
from common.errors import Overloaded


class SilentCall:
    """A call whose message arrives when the test says so."""

    def __init__(self, peer: str = "ipv4:127.0.0.1:1") -> None:
        self._peer = peer
        self.message: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def peer(self) -> str:
        return self._peer

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


async def test_a_connection_with_many_silent_calls_does_not_keep_out_the_others() -> None:
    turns = Turns(contested_seconds=0.05)
    silent = [receive(turns, SilentCall()) for _ in range(20 * RECEIVED_AT_ONCE)]
    await asyncio.sleep(0)
    other = SilentCall("ipv4:127.0.0.1:2")
    other.message.set_result("message")
    assert await asyncio.wait_for(receive(turns, other), 5) == "message"
    assert sum(task.done() for task in silent) <= 3 * RECEIVED_AT_ONCE
    for task in silent:
        task.cancel()
    ended = await asyncio.gather(*silent, return_exceptions=True)
    assert {type(one) for one in ended} <= {asyncio.CancelledError, Overloaded}


async def test_a_connection_may_have_only_so_many_calls_waiting() -> None:
    turns = Turns(most_waiting=4)
    silent = [receive(turns, SilentCall()) for _ in range(RECEIVED_AT_ONCE + 4)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await receive(turns, SilentCall())
    for task in silent:
        task.cancel()
    await asyncio.gather(*silent, return_exceptions=True)
