"""It does not grow: after thousands of requests of every kind, memory and file descriptors are where they were."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from runtimes.base import Stack
from tests.conftest import Start
from tests.load import Load, request
from tests.support import INFER, SETOSA, SETOSA_BY_NAME, VIRGINICA, direct_url, metric, question

pytestmark = pytest.mark.runs_on("local")

WARM = 4_000
MEMORY = 6_000_000  # bytes: what an allocator may keep; over 12,000 requests, a leak of 500 bytes a request is more
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


LONG = pytest.param(100_000, marks=[pytest.mark.minutes, pytest.mark.runs_on("local", "compose")])


@pytest.mark.parametrize("requests", [12_000, LONG])
async def test_memory_and_files_stay_where_they_were(
    stack: Stack, requests: int, record_property: Callable[[str, object], None]
) -> None:
    """The limit on memory is the same for both numbers of requests, since a leak grows with the number of requests."""
    seen = []
    async with Load(direct_url(stack), REQUESTS, lambda _: True, callers=CALLERS) as load:
        for step in range(5):
            await load.answered(WARM + step * requests // 4, seconds=600)
            seen.append(await measured(stack))
    memory, files = zip(*seen, strict=True)
    record_property("bytes of memory gained", int(memory[-1] - memory[0]))
    record_property("file descriptors gained", int(max(files) - files[0]))
    assert load.tally.lost == []
    assert load.tally.statuses.keys() == {200, 400, 404}
    assert memory[-1] - memory[0] < MEMORY
    assert max(files) - files[0] <= FILES
