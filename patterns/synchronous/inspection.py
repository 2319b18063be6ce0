"""An inspection line that waits for the answer about each part before the next one may move: pass, reject or stop.

`python -m patterns.synchronous.inspection URL PHOTO... --expect LABEL`. A client of the pattern; it needs no library.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from time import monotonic
from typing import Literal, Protocol
from urllib.error import HTTPError
from urllib.request import Request, urlopen

Action = Literal["pass", "reject", "stop"]


class NoAnswer(Exception):
    """Nothing is known of a part: too slow, overloaded, unreachable, or its photo is no photo."""


class Eye(Protocol):
    """Whatever says what a photo shows."""

    def look(self, photo: bytes, seconds: float) -> tuple[str, float]:
        """Label and probability, within `seconds`. Raises NoAnswer."""


class Service:
    """The eye that asks `POST /classify` of a running service."""

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/classify?top=1"

    def look(self, photo: bytes, seconds: float) -> tuple[str, float]:
        # the service is given a little less, so that its refusal still arrives in time
        headers = {"Content-Type": "application/octet-stream", "X-Request-Timeout-Seconds": f"{0.8 * seconds:g}"}
        start = monotonic()
        try:
            with urlopen(Request(self._url, photo, headers), timeout=seconds) as answer:
                (best,) = json.load(answer)["predictions"]
        except HTTPError as error:
            with error:
                raise NoAnswer(f"{error.code} {error.reason}") from None
        except (OSError, HTTPException, ValueError, KeyError) as error:
            raise NoAnswer(str(error) or type(error).__name__) from None
        if monotonic() - start > seconds:  # a trickle keeps a socket's timeout from striking
            raise NoAnswer("it came too late")
        return best["label"], best["probability"]


@dataclass(frozen=True)
class Verdict:
    """What becomes of a part, and why."""

    part: str
    action: Action
    reason: str


@dataclass(frozen=True)
class Line:
    """Passes a part that surely is as expected, rejects one that surely is not, and stops for a person otherwise."""

    eye: Eye
    expected: frozenset[str]
    least: float = 0.5
    seconds: float = 1.0

    def inspect(self, part: str, photo: bytes) -> Verdict:
        try:
            label, probability = self.eye.look(photo, self.seconds)
        except NoAnswer as error:
            return Verdict(part, "stop", f"not seen: {error}")
        seen = f"{label}, {probability:.0%}"
        if probability < self.least:
            return Verdict(part, "stop", f"unsure: {seen}")
        return Verdict(part, "pass" if label in self.expected else "reject", seen)

    def run(self, parts: Iterable[tuple[str, bytes]]) -> Iterator[Verdict]:
        """Part after part; what comes after a stop is not looked at, let alone passed."""
        for part, photo in parts:
            verdict = self.inspect(part, photo)
            yield verdict
            if verdict.action == "stop":
                return


def main() -> int:
    """0 when the line went through, 1 when it stands still."""
    parser = argparse.ArgumentParser(prog="inspection", description="Inspect photos of parts, one after the other.")
    parser.add_argument("url")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--expect", action="append", required=True, metavar="LABEL", help="what passes (repeatable)")
    parser.add_argument("--least", type=float, default=0.5, help="probability below which a person has to look")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each part")
    given = parser.parse_args()
    line = Line(Service(given.url), frozenset(given.expect), given.least, given.seconds)
    verdict = None
    for verdict in line.run((path.name, path.read_bytes()) for path in given.photos):
        print(f"{verdict.action:6} {verdict.part}: {verdict.reason}")
    return int(verdict is not None and verdict.action == "stop")


if __name__ == "__main__":
    sys.exit(main())
