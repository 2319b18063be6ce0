"""A timeout that costs a fraction of `asyncio.timeout`, which matters around every call. It cannot be rescheduled."""

from __future__ import annotations

import asyncio
from types import TracebackType


class timeout:
    """Cancels the block inside after `seconds`, and raises TimeoutError from it."""

    __slots__ = ("_before", "_expired", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # this block awaits, so it runs in a task
        self._task, self._before, self._expired = task, task.cancelling(), False
        self._timer = loop.call_later(seconds, self._expire)

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._expired and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()
