"""Waiting for something to become true, for as long as it may take and no longer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE_SECONDS = 20.0


async def until(true: Callable[[], object], what: str) -> None:
    """Returns once `true()` is; fails with `what` was waited for."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, f"timed out after {PATIENCE_SECONDS:g} s waiting for {what}"
        await asyncio.sleep(0.005)


def wait_until(true: Callable[[], object], what: str) -> None:
    """The same from outside an event loop."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, f"timed out after {PATIENCE_SECONDS:g} s waiting for {what}"
        time.sleep(0.005)
