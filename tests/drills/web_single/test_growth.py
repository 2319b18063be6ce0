"""It does not grow: 20,000 requests of every kind later, memory and file descriptors are where they were."""

from __future__ import annotations

import asyncio

import pytest

from runtimes.base import Stack
from tests.conftest import Start
from tests.load import Load, request
from tests.support import INFER, SETOSA, SETOSA_BY_NAME, VIRGINICA, direct_url, metric, question

WARM, STEP, STEPS = 4_000, 4_000, 4
MEMORY = 6_000_000  # bytes over 16,000 requests: what an allocator may keep; a leak of 400 bytes a request is more
CALLERS = 8
FILES = CALLERS  # each caller's last connection may still be closing when its next one is there

REQUESTS = [
    request(INFER, question(SETOSA)),
    request(INFER, question(*[VIRGINICA] * 20)),
    request(
        INFER, question(SETOSA), **{"X-Request-ID": "again-and-again", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    ),
    request("/predict", {"instances": [SETOSA_BY_NAME]}),
    request("/predict", {"instances": [SETOSA_BY_NAME | {"colour": 1}]}),
    request("/v2/models/tulips/infer", question(SETOSA)),
    request(INFER, b'{"inputs": ['),
    request(INFER, question(SETOSA), Connection="close"),
]


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    return start_for_module("web_single")


async def measured(stack: Stack) -> tuple[float, float]:
    """Resident bytes and open files."""
    memory = await asyncio.to_thread(metric, stack.url(), "process_resident_memory_bytes")
    return memory, await asyncio.to_thread(metric, stack.url(), "process_open_fds")


async def test_memory_and_files_stay_where_they_were(stack: Stack) -> None:
    seen = []
    async with Load(direct_url(stack), REQUESTS, lambda _: True, callers=CALLERS) as load:
        for step in range(STEPS + 1):
            await load.answered(WARM + step * STEP, seconds=120)
            seen.append(await measured(stack))
    memory, files = zip(*seen, strict=True)
    assert load.tally.lost == []
    assert load.tally.statuses.keys() == {200, 400, 404}
    assert memory[-1] - memory[0] < MEMORY
    assert max(files) - files[0] <= FILES
