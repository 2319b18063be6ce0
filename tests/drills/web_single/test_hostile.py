"""Hostile requests: nobody holds the event loop, nothing fails, and memory stays under the container's limit."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable

import httpx
import pytest

from runtimes import containers, engine
from runtimes.base import Stack
from tests.conftest import Start
from tests.heavy import Mix
from tests.support import INFER, SETOSA, direct_url, metric, question

pytestmark = pytest.mark.runs_on("local", "compose")

CALLERS = 8
QUIET_SECONDS, BUSY_SECONDS = 0.25, 1.5  # for /livez: on a quiet machine, and in a suite that shares its cores
LONG = pytest.param(100_000, 500, QUIET_SECONDS, marks=pytest.mark.minutes)
ANNOUNCED = {"503", "504"}
LARGE_CALLERS, LARGE_SECONDS = 16, 8.0
REFUSED = {"413", "429", "503", "RESOURCE_EXHAUSTED"}


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    return start_for_module("web_single", ACCESS_LOG="false")


async def worst_livez(stack: Stack, ended: asyncio.Event) -> float:
    """The longest time that /livez took, each time on a new connection, until the attack has ended."""
    worst = 0.0
    while not ended.is_set():
        async with httpx.AsyncClient(base_url=direct_url(stack), timeout=60) as client:
            start = time.perf_counter()
            assert (await client.get("/livez")).status_code == 200
            worst = max(worst, time.perf_counter() - start)
        await asyncio.sleep(0.02)
    return worst


@pytest.mark.parametrize(("count", "every", "seconds"), [(120, 3, BUSY_SECONDS), LONG])
async def test_hostile_requests_are_refused_while_livez_answers(
    stack: Stack, count: int, every: int, seconds: float, record_property: Callable[[str, object], None]
) -> None:
    given = [direct_url(stack), stack.grpc(), "--count", str(count), "--every", str(every), "--callers", str(CALLERS)]
    started = await asyncio.to_thread(metric, stack.url(), "process_start_time_seconds")
    attack = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.hostile", *given, stdout=asyncio.subprocess.PIPE
    )
    ended = asyncio.Event()
    probe = asyncio.create_task(worst_livez(stack, ended))
    output, _ = await attack.communicate()
    ended.set()
    found, worst = json.loads(output), await probe
    record_property("ends", found["ends"])
    record_property("worst_livez_seconds", round(worst, 3))
    assert found["wrong"] == []
    assert {end for end in found["ends"] if end.isdecimal() and end.startswith("5")} <= ANNOUNCED
    assert worst < seconds
    async with httpx.AsyncClient(base_url=stack.url(), timeout=20) as client:
        assert (await client.post(INFER, json=question(SETOSA))).status_code == 200
    # the same process, so neither a crash nor the memory limit has ended it
    assert await asyncio.to_thread(metric, stack.url(), "process_start_time_seconds") == started


def container(stack: Stack) -> dict[str, object]:
    """What Docker knows of how the only container of the stack has been."""
    (one,) = containers.of_project(f"sp-{stack.name}")
    (tree,) = json.loads(engine.run(["docker", "inspect", one.id]))
    return {"OOMKilled": tree["State"]["OOMKilled"], "RestartCount": tree["RestartCount"]}


@pytest.mark.runs_on("compose")
async def test_the_largest_requests_stay_within_the_containers_memory(
    stack: Stack, record_property: Callable[[str, object], None]
) -> None:
    started = await asyncio.to_thread(metric, stack.url(), "process_start_time_seconds")
    mix = Mix(direct_url(stack), stack.grpc())
    await mix.run(LARGE_CALLERS, LARGE_SECONDS)
    record_property("ends", mix.kinds)
    assert await asyncio.to_thread(container, stack) == {"OOMKilled": False, "RestartCount": 0}
    assert mix.ends.keys() <= {"200", "OK", "left", *REFUSED}, mix.kinds
    assert mix.ends["200"]
    assert mix.ends["OK"]
    async with httpx.AsyncClient(base_url=stack.url(), timeout=20) as client:
        assert (await client.post(INFER, json=question(SETOSA))).status_code == 200
    assert await asyncio.to_thread(metric, stack.url(), "process_start_time_seconds") == started
