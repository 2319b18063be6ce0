"""Requests share runs of the model, and nothing that one of them is or does changes another one's answer."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import httpx
import numpy as np
import pytest

from runtimes.base import Stack
from tests.conftest import Start
from tests.load import connect, read_answer, request
from tests.support import INFER, direct_url, metric, question

pytestmark = pytest.mark.runs_on("local")

CALLERS, EACH = 24, 12
TOLERANCE = 1e-5  # model.yaml: batching.tolerance


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    return start_for_module("web_single", BATCH_DELAY_SECONDS="0.02", BATCH_MAX_ROWS="32", FAULTS="true")


def rows(seed: int) -> list[list[float]]:
    """One to five rows that no other seed gives."""
    numbers = np.random.default_rng(seed)
    return [[float(value) for value in row] for row in numbers.uniform(0.1, 8, (1 + seed % 5, 4)).round(3)]


async def ask(client: httpx.AsyncClient, seed: int, **rest: Any) -> Any:
    answer = await client.post(INFER, json=question(*rows(seed), **rest))
    assert answer.status_code == 200
    return answer.json()


async def alone(client: httpx.AsyncClient) -> dict[int, Any]:
    """Every seed's outputs when nobody else asks."""
    return {seed: (await ask(client, seed))["outputs"] for seed in range(CALLERS)}


async def well_behaved(client: httpx.AsyncClient, seed: int, expected: Any) -> None:
    for number in range(EACH):
        answer = await ask(client, seed, id=f"{seed}/{number}")
        assert answer["id"] == f"{seed}/{number}"
        for got, want in zip(answer["outputs"], expected, strict=True):
            assert got["shape"] == want["shape"]
            assert got["data"] == pytest.approx(want["data"], abs=TOLERANCE)


async def bad(client: httpx.AsyncClient, bodies: list[bytes]) -> None:
    for number in range(EACH):
        answer = await client.post(INFER, content=bodies[number % len(bodies)])
        assert answer.status_code == 400


async def leaving(base: str) -> None:
    """Sends whole requests and goes without their answers."""
    for _ in range(EACH):
        _, writer = await connect(base)
        writer.write(request(INFER, question(*rows(999))))
        await writer.drain()
        await asyncio.sleep(random.random() * 0.02)
        writer.close()


async def slow_to_send(base: str, expected: Any) -> None:
    """Sends a request piece by piece."""
    text = request(INFER, question(*rows(0)))
    for _ in range(3):
        reader, writer = await connect(base)
        for at in range(0, len(text), 40):
            writer.write(text[at : at + 40])
            await writer.drain()
            await asyncio.sleep(0.01)
        status, _, body = await read_answer(reader)
        assert status == 200
        assert httpx.Response(200, content=body).json()["outputs"] == [
            want | {"data": pytest.approx(want["data"], abs=TOLERANCE)} for want in expected
        ]
        writer.close()


async def late(client: httpx.AsyncClient) -> None:
    """Asks with a deadline that the wait for a full batch may well outlast."""
    for _ in range(EACH):
        headers = {"X-Request-Timeout-Seconds": "0.005"}
        answer = await client.post(INFER, json=question(*rows(998)), headers=headers)
        assert answer.status_code in (200, 504)


async def test_no_member_of_a_batch_changes_another_ones_answer(stack: Stack) -> None:
    limits = httpx.Limits(max_connections=None)
    base = direct_url(stack)
    nan = b'{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[NaN,1,1,1]}]}'
    wide = b'{"inputs":[{"name":"features","shape":[1,5],"datatype":"FP32","data":[1,1,1,1,1]}]}'
    async with httpx.AsyncClient(base_url=stack.url(), timeout=30, limits=limits) as client:
        expected = await alone(client)
        ran = await asyncio.to_thread(metric, stack.url(), "serving_batch_size_count")
        rows_before = await asyncio.to_thread(metric, stack.url(), "serving_batch_size_sum")
        await asyncio.gather(
            *(well_behaved(client, seed, expected[seed]) for seed in range(CALLERS)),
            *(bad(client, [nan, wide, b"{"]) for _ in range(4)),
            *(leaving(base) for _ in range(4)),
            *(slow_to_send(base, expected[0]) for _ in range(3)),
            *(late(client) for _ in range(2)),
        )
    ran = await asyncio.to_thread(metric, stack.url(), "serving_batch_size_count") - ran
    shared = (await asyncio.to_thread(metric, stack.url(), "serving_batch_size_sum") - rows_before) / ran
    assert shared > 4  # or this has shown nothing: rows did share runs


async def test_a_run_that_fails_is_repeated_alone_for_each_member(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url(), timeout=30) as client:
        expected = await alone(client)
        await client.post("/faults", json={"error_share": 0.3})
        answers = await asyncio.gather(
            *(client.post(INFER, json=question(*rows(seed))) for seed in range(CALLERS) for _ in range(4))
        )
        await client.post("/faults", json={})
    good = 0
    for seed, answer in zip([seed for seed in range(CALLERS) for _ in range(4)], answers, strict=True):
        if answer.status_code == 200:
            good += 1
            for got, want in zip(answer.json()["outputs"], expected[seed], strict=True):
                assert got["data"] == pytest.approx(want["data"], abs=TOLERANCE)
        else:
            assert answer.status_code == 500
            assert "injected" in answer.json()["error"]
    assert good > len(answers) / 2  # though nearly every shared run has failed
