"""Finds in a service's `GET /readyz` that a model cannot be loaded, so that a start does not wait for its timeout.

A service tries a load again every few seconds, because a store may be about to come up. Its reasons tell the two kinds
apart: a failed download may pass, everything else about a model stays until somebody changes a file or a setting.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runtimes.errors import ModelNotLoaded

PASSING_SECONDS = 30.0
_MODEL = re.compile(r"(?:^|; )model '([^']*)': ")
_NO_FAILURE = ("not loaded yet", "loading", "an inference has been running")
_PASSING = "the download failed"


@dataclass(frozen=True)
class LoadFailure:
    """Why a model cannot be served. `passing`: the same files and settings may work a moment later."""

    model: str
    reason: str
    passing: bool


def of_answer(body: str) -> list[LoadFailure]:
    """The failures in the body of a 503 of /readyz; empty if it tells none."""
    try:
        reasons = json.loads(body)["reasons"]
    except (ValueError, TypeError, KeyError):
        return []
    return [failure for reason in reasons if isinstance(reason, str) for failure in _of_reason(reason)]


def _of_reason(reason: str) -> Iterator[LoadFailure]:
    """A reason is `model 'a': <why>; model 'b': <why>`, or something else, which is no failure of a model."""
    if not reason.startswith("model '"):
        return
    _, *parts = _MODEL.split(reason)
    for model, why in zip(parts[::2], parts[1::2], strict=True):
        if not why.startswith(_NO_FAILURE):
            yield LoadFailure(model, why, _PASSING in why)


class LoadWatch:
    """Follows the failures of the services that a stack waits for. One object for each start."""

    def __init__(self, say: Callable[[str], None], passing_seconds: float = PASSING_SECONDS) -> None:
        self._say, self._passing_seconds = say, passing_seconds
        self._since: dict[str, float] = {}

    def check(self, service: str, body: str) -> None:
        """Raise ModelNotLoaded if a model of `service`, which answered 503 with `body`, cannot be loaded.

        A failure that may pass is printed at once, and is an error when it has lasted for `passing_seconds`.
        """
        for failure in of_answer(body):
            if not failure.passing:
                raise ModelNotLoaded(service, failure.model, failure.reason)
            if service not in self._since:
                self._since[service] = time.monotonic()
                self._say(f"{service} waits for the model {failure.model!r}: {failure.reason}")
            elif time.monotonic() - self._since[service] > self._passing_seconds:
                raise ModelNotLoaded(service, failure.model, failure.reason)
