"""Liveness (does this process make progress?) and readiness (can it answer requests now?), which are kept separate.

Liveness never depends on another service, because a restart would not repair that one. Readiness checks exactly what
this service cannot answer without.
"""

from __future__ import annotations

from collections.abc import Callable

from common.observability.redaction import redacted

Check = Callable[[], str | None]


class Health:
    """The health checks of a process. A check returns None when it passes, else one line that says what is wrong."""

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
        drain = ["draining: this process is stopping"] if self.draining else []
        return drain + self.failed_readiness_checks()

    def failed_readiness_checks(self) -> list[str]:
        """The reasons of the readiness checks that fail now, without the drain."""
        return list(dict.fromkeys(redacted(reason) for check in self._ready if (reason := check())))

    def not_live_reasons(self) -> list[str]:
        """Why this process has stopped making progress; empty while it does."""
        return [redacted(reason) for check in self._live if (reason := check())]
