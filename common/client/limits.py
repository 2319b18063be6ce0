"""How much a client may ask of one predictor: places, waiting callers, attempts and the budget for retries."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from common.errors import Overloaded

_WEIGHT = 0.1  # of the newest call in the moving average: about the last twenty count


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """Bounds on the calls to one predictor. Durations in seconds, sizes in bytes."""

    concurrency: int = 64
    """Calls under way at once, and so connections."""
    queue: int = 256
    """Callers that may wait for one of those places."""
    attempts: int = 3
    """Attempts at one call, the first included."""
    retry_share: float = 0.2
    """Retries per call in the long run, so that an outage is not multiplied."""
    retry_reserve: float = 10.0
    """Retries that may be made in a row after a quiet time."""
    backoff_seconds: float = 0.02
    """The longest pause before the first retry; it doubles with each."""
    max_backoff_seconds: float = 1.0
    patient: bool = True
    """Whether a pause that a predictor asks for (Retry-After) is made; else it is left to the caller."""
    connect_seconds: float = 1.0
    idle_seconds: float = 4.0
    """How long an unused connection is kept: less than by servers (uvicorn: 5), so that they seldom close it first."""
    max_answer_bytes: int = 64 << 20
    """Size of an answer, its headers included."""


class ConcurrencyLimiter:
    """At most `places` calls at once. Callers wait in a bounded queue, and only if their deadline allows for it."""

    def __init__(self, places: int, queue: int, predictor: str) -> None:
        self._places = places
        self._queue = queue
        self._predictor = predictor
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._usual_seconds = 0.0

    def try_acquire(self) -> bool:
        """Takes a place where one is free, which is the usual case and costs no turn of the loop."""
        if self._taken >= self._places:
            return False
        self._taken += 1
        return True

    async def acquire(self, left: float) -> None:
        """Takes a place once one is free; Overloaded where none is within `left` seconds, at once if foreseeable."""
        expected = self._usual_seconds * (len(self._waiting) + 1) / self._places
        if len(self._waiting) >= self._queue or expected > left:
            raise self._overloaded(expected)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(left):
                await turn
        except BaseException as error:
            if turn.cancelled():
                self._waiting.remove(turn)
            else:  # the place was handed over in the turn of the loop in which its taker gave up
                self._hand_on()
            if isinstance(error, TimeoutError):
                raise self._overloaded(expected) from None
            raise

    def release(self, seconds: float) -> None:
        """Gives the place back after a call that took so long."""
        self._usual_seconds += (seconds - self._usual_seconds) * _WEIGHT
        self._hand_on()

    def _hand_on(self) -> None:
        """To the one who waits longest; they keep it taken."""
        for turn in self._waiting:
            if not turn.done():
                self._waiting.remove(turn)
                turn.set_result(None)
                return
        self._taken -= 1

    def _overloaded(self, expected: float) -> Overloaded:
        return Overloaded(
            f"predictor {self._predictor} has {self._places} calls under way and {len(self._waiting)} waiting",
            retry_after=max(expected, 1.0),
        )


class RetryBudget:
    """A token bucket: each call earns a share of a retry, each retry costs a whole one."""

    def __init__(self, share: float, reserve: float) -> None:
        self._share = share
        self._most = reserve
        self._tokens = reserve

    def earn(self) -> None:
        self._tokens = min(self._most, self._tokens + self._share)

    def spend(self) -> bool:
        """Whether a retry may be made; if so it is paid for."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
