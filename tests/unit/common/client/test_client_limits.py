"""How many calls a client has under way: places, those who wait for one, and that none is lost."""

from __future__ import annotations

import asyncio
import random

import pytest

from common.client import ClientLimits, PredictorClient, PredictorResponse
from common.errors import DeadlineExceeded, Overloaded
from tests.unit.common.client.http_predictor import (
    HttpPredictor,
    Request,
    double,
    infer,
    stall,
    stopwatch,
)


async def test_calls_beyond_the_limit_wait_or_are_refused_at_once(predictor: HttpPredictor) -> None:
    go = asyncio.Event()

    async def held(request: Request) -> None:
        await go.wait()
        await double(request)

    predictor.usual = held
    async with PredictorClient(predictor.url, model="m", limits=ClientLimits(concurrency=2, queue=1)) as client:
        calls = [asyncio.create_task(infer(client)) for _ in range(3)]
        await predictor.received(2)
        with pytest.raises(Overloaded, match="to predictor m: 2 are in progress and 1 wait") as caught:
            await infer(client)
        assert caught.value.retry_after
        assert len(predictor.requests) == 2
        go.set()
        await asyncio.gather(*calls)
    assert len(predictor.connections) == 2


async def test_a_caller_whose_deadline_ends_in_the_queue_is_refused(predictor: HttpPredictor) -> None:
    predictor.usual = stall
    async with PredictorClient(predictor.url, model="m", limits=ClientLimits(concurrency=1)) as client:
        with pytest.raises(DeadlineExceeded):
            await infer(client, 0.3)  # from which the client learns how slow it is here
        holder = asyncio.create_task(infer(client, 0.3))
        await asyncio.sleep(0)
        async with stopwatch() as seconds:
            with pytest.raises(Overloaded):
                await infer(client, 0.02)
            assert seconds() < 0.015, "foreseeable, so it did not wait"
        with pytest.raises(Overloaded):
            await infer(client, 0.1)
        with pytest.raises(DeadlineExceeded):
            await holder
    assert len(predictor.requests) == 2


async def test_a_cancelled_waiter_leaves_its_place_to_the_next(predictor: HttpPredictor) -> None:
    async with PredictorClient(predictor.url, model="m", limits=ClientLimits(concurrency=1)) as client:
        calls = [asyncio.create_task(infer(client)) for _ in range(6)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(one, PredictorResponse) for one in results] == [False, True] * 3
        await infer(client)


async def test_no_place_is_lost_however_callers_leave(predictor: HttpPredictor) -> None:
    chance = random.Random(7)

    async def slow(request: Request) -> None:
        await asyncio.sleep(0.004)
        await double(request)

    predictor.usual = slow
    limits = ClientLimits(concurrency=3, attempts=1)
    async with PredictorClient(predictor.url, model="m", limits=limits) as client:
        calls = [asyncio.create_task(infer(client, chance.choice([0.003, 0.01, 0.1, 2]))) for _ in range(150)]
        for call in chance.sample(calls, 60):
            await asyncio.sleep(chance.choice([0, 0, 0.002]))
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        predictor.usual = stall
        held = [asyncio.create_task(infer(client, 60)) for _ in range(4)]

        def arrived() -> int:
            """The held ones among them: the last of those that were cancelled may still be arriving."""
            left = [float(one.headers["x-request-timeout-seconds"]) for one in predictor.requests]
            return sum(seconds > 30 for seconds in left)

        while arrived() < 3:
            await predictor.received(len(predictor.requests) + 1)
        for call in held:
            call.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        assert arrived() == 3
