"""The time that is left for a request. It travels as a duration, so the clocks of two machines need not agree."""

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
        """The deadline that many seconds from now."""
        return cls(monotonic() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; negative once it has passed."""
        return self.at - monotonic()

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return monotonic() >= self.at

    def capped(self, seconds: float) -> Deadline:
        """This deadline, or the one `seconds` from now when that is earlier."""
        return Deadline(min(self.at, monotonic() + seconds))

    def check(self, step: str) -> None:
        """Raises DeadlineExceeded when no time is left; `step` says what was to come next: "inference started"."""
        if self.expired:
            raise DeadlineExceeded(f"the deadline passed before {step}")

    def header(self) -> str:
        """The seconds that are left, as the next service reads them in `X-Request-Timeout-Seconds`."""
        return f"{max(self.remaining, 0.0):.4f}"


def parse_timeout(text: str) -> float:
    """The seconds in an `X-Request-Timeout-Seconds` header. Raises InvalidInput unless they are a positive number."""
    try:
        seconds = float("_" if "_" in text else text)  # Python reads 1_0 as 10
    except ValueError:
        raise InvalidInput.at(HEADER, f"expected a number of seconds such as 0.25, got {text[:40]!r}") from None
    if not math.isfinite(seconds):
        raise InvalidInput.at(HEADER, f"expected a finite number of seconds, got {text[:40]!r}")
    if seconds <= 0:
        raise InvalidInput.at(HEADER, f"expected more than 0 seconds, got {seconds:g}: the deadline has passed already")
    return seconds
