"""What the drills of prep_pred share: a stack of each layout that is left as it was found, and requests against it."""

from __future__ import annotations

import asyncio
import time

import httpx

from runtimes.base import Stack
from tests.asking.prep_pred import ENTRY, PENGUIN, TIMEOUT
from tests.drills import faults
from tests.support import eventually

SLACK = 1.5  # what a busy machine may add


def ask(stack: Stack, seconds: float = 10.0) -> tuple[httpx.Response, float]:
    """One penguin within so many seconds; how long it took."""
    start = time.monotonic()
    answer = httpx.post(
        f"{stack.url()}/predict/penguins",
        json={"instances": [PENGUIN]},
        headers={TIMEOUT: str(seconds)},
        timeout=seconds + 10,
    )
    return answer, time.monotonic() - start


async def ask_all(stack: Stack, seconds: float, count: int) -> list[tuple[httpx.Response, float]]:
    return await asyncio.gather(*(asyncio.to_thread(ask, stack, seconds) for _ in range(count)))


def unready(stack: Stack, layout: str | None) -> str:
    """Why the entry says that it is not ready; empty while it is."""
    return faults.unready(stack, ENTRY[layout])


def healed(stack: Stack, layout: str | None) -> None:
    """Waits until the entry is ready again, and sees that it answers."""
    eventually(lambda: not unready(stack, layout), 10, "the entry is ready again")
    eventually(lambda: ask(stack)[0].status_code == 200, 5, "it answers")
