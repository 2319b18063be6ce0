"""Two questions kept apart: is this process making progress (live), and can it answer right now (ready)?

Liveness never asks a dependency: a restart would not mend one. Readiness asks for exactly what this service cannot
answer without.
"""

from __future__ import annotations

from collections.abc import Callable

Check = Callable[[], str | None]


class Health:
    """Collects checks; each returns None when all is well, or one line that says what is wrong."""

    def __init__(self) -> None:
        self.draining = False
        self._ready: list[Check] = []
        self._live: list[Check] = []

    def add_readiness_check(self, check: Check) -> None:
        self._ready.append(check)

    def add_liveness_check(self, check: Check) -> None:
        self._live.append(check)

    def not_ready_reasons(self) -> list[str]:
        """Why this service cannot answer now; empty when it can."""
        drain = ["draining: this process has been asked to stop"] if self.draining else []
        return drain + self.failed_readiness_checks()

    def failed_readiness_checks(self) -> list[str]:
        """What it cannot answer without and is not there."""
        return list(dict.fromkeys(reason for check in self._ready if (reason := check())))

    def not_live_reasons(self) -> list[str]:
        """Why this process has stopped making progress; empty while it does."""
        return [reason for check in self._live if (reason := check())]
