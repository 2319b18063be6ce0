"""The time left for a request. It travels as a duration, so the clocks of two machines need not agree."""

from __future__ import annotations

import math
from time import monotonic

from common.errors import DeadlineExceeded, InvalidInput

HEADER = "X-Request-Timeout-Seconds"


class Deadline:
    """A moment on this process's monotonic clock, in seconds."""

    __slots__ = ("at",)

    def __init__(self, at: float) -> None:
        self.at = at

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(monotonic() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - monotonic()

    @property
    def expired(self) -> bool:
        return monotonic() >= self.at

    def capped(self, seconds: float) -> Deadline:
        """This deadline, or one in so many seconds if that is before it."""
        return Deadline(min(self.at, monotonic() + seconds))

    def check(self, doing: str) -> None:
        """Raises DeadlineExceeded where no time is left, naming what will not be started."""
        if self.expired:
            raise DeadlineExceeded(f"the deadline passed before {doing}")

    def header(self) -> str:
        """What is left, as the next hop reads it in `X-Request-Timeout-Seconds`."""
        return f"{max(self.remaining, 0.0):.4f}"


def parse_timeout(text: str, *, longest: float) -> float:
    """Seconds out of an `X-Request-Timeout-Seconds` header, at most `longest`.

    Raises InvalidInput where it is no positive number.
    """
    try:
        seconds = float(text)
    except ValueError:
        raise InvalidInput.at(HEADER, f"expected a number of seconds such as 0.25, got {text[:40]!r}") from None
    if not math.isfinite(seconds):
        raise InvalidInput.at(HEADER, f"expected a finite number of seconds, got {text[:40]!r}")
    if seconds <= 0:
        raise InvalidInput.at(HEADER, f"the deadline had passed before the request arrived ({seconds:g} s left)")
    return min(seconds, longest)
