"""The limits on the calls to one predictor: concurrent calls, waiting calls, attempts, and a budget of retries."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from common.errors import Overloaded

_WEIGHT = 0.1  # of the newest call in the moving average, which covers about the last twenty calls


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Limits on the calls to one predictor. Durations are in seconds, sizes in bytes."""

    concurrency: int = 64
    """Calls in progress at once; over HTTP this is also the number of connections."""
    queue: int = 256
    """Calls that may wait until one of those in progress ends."""
    attempts: int = 3
    """Attempts for one call, including the first."""
    retry_share: float = 0.2
    """Retries per call in the long run. It limits the load that retries add during an outage."""
    retry_reserve: float = 10.0
    """Retries that may be made in a row when there have been none for a while."""
    backoff_seconds: float = 0.02
    """The longest pause before the first retry; it doubles with each further one."""
    max_backoff_seconds: float = 1.0
    """The longest pause before any retry."""
    wait_for_retry_after: bool = True
    """Whether to retry after the pause that a predictor asks for (Retry-After). If not, such a call fails at once."""
    connect_timeout_seconds: float = 1.0
    """The longest time for opening a connection."""
    idle_seconds: float = 4.0
    """How long an idle connection is kept: less than servers do (uvicorn: 5), so that they rarely close it first."""
    max_response_bytes: int = 64 << 20
    """The largest response, including its headers."""


class ConcurrencyLimiter:
    """Allows `limit` calls at once. Others wait in a bounded queue, if their deadline leaves enough time."""

    def __init__(self, limit: int, queue: int, predictor: str) -> None:
        self._limit = limit
        self._queue = queue
        self._predictor = predictor
        self._in_progress = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._average_seconds = 0.0

    def try_acquire(self) -> bool:
        """Counts a call in when fewer than `limit` are in progress; False otherwise. Does not wait."""
        if self._in_progress >= self._limit:
            return False
        self._in_progress += 1
        return True

    async def acquire(self, timeout_seconds: float) -> None:
        """Waits until the call may start, and counts it in. Raises Overloaded.

        That is at once when the queue is full or when the expected wait is too long, else after `timeout_seconds`.
        """
        expected = self._average_seconds * (len(self._waiting) + 1) / self._limit
        if len(self._waiting) >= self._queue or expected > timeout_seconds:
            raise self._overloaded(expected)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout_seconds):
                await waiter
        except BaseException as error:
            if waiter.cancelled():
                self._waiting.remove(waiter)
            else:  # the call was allowed to start, but gave up in the same iteration of the event loop
                self._start_next()
            if isinstance(error, TimeoutError):
                raise self._overloaded(expected) from None
            raise

    def release(self, seconds: float) -> None:
        """Counts a call out that took `seconds`."""
        self._average_seconds += (seconds - self._average_seconds) * _WEIGHT
        self._start_next()

    def _start_next(self) -> None:
        """Lets the call that has waited longest take the place of one that has ended."""
        for waiter in self._waiting:
            if not waiter.done():
                self._waiting.remove(waiter)
                waiter.set_result(None)
                return
        self._in_progress -= 1

    def _overloaded(self, expected: float) -> Overloaded:
        return Overloaded(
            f"too many calls to predictor {self._predictor}: "
            f"{self._limit} are in progress and {len(self._waiting)} wait; retry later",
            retry_after=max(expected, 1.0),
        )


class RetryBudget:
    """A token bucket: each call adds `share` tokens, up to `reserve`; each retry takes one."""

    def __init__(self, share: float, reserve: float) -> None:
        self._share = share
        self._reserve = reserve
        self._tokens = reserve

    def earn(self) -> None:
        """Adds the share of one call."""
        self._tokens = min(self._reserve, self._tokens + self._share)

    def spend(self) -> bool:
        """Takes a token for a retry; False when there is none, so that no retry may be made."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
