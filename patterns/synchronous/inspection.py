"""A client of the pattern: an inspection line that waits for the prediction for each part, then passes or rejects it.

It stops when there is no certain prediction. Run `python -m patterns.synchronous.inspection URL PHOTO... --expect
LABEL`, with API_KEY if the service asks for a key. It uses only the standard library.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from time import monotonic
from typing import Literal, Protocol
from urllib.error import HTTPError
from urllib.request import Request, urlopen

Action = Literal["pass", "reject", "stop"]


class NoPrediction(Exception):
    """There is no prediction: the service was too slow, overloaded or unreachable, or the photo is not valid."""


class PhotoClassifier(Protocol):
    """Classifies photos."""

    def classify(self, photo: bytes, seconds: float) -> tuple[str, float]:
        """The most probable label and its probability, within `seconds`. Raises NoPrediction."""


class ClassifyClient:
    """Classifies photos with `POST /classify` of a running service."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self._url = f"{url.rstrip('/')}/classify?top=1"
        self._headers = dict(headers or {})

    def classify(self, photo: bytes, seconds: float) -> tuple[str, float]:
        # the service gets a shorter timeout, so that its error response still arrives in time
        limit = {"X-Request-Timeout-Seconds": f"{0.8 * seconds:g}"}
        headers = {"Content-Type": "application/octet-stream", **limit, **self._headers}
        start = monotonic()
        try:
            with urlopen(Request(self._url, photo, headers), timeout=seconds) as answer:
                (best,) = json.load(answer)["predictions"]
        except HTTPError as error:
            with error:
                raise NoPrediction(f"{error.code} {error.reason}") from None
        except (OSError, HTTPException, ValueError, KeyError) as error:
            raise NoPrediction(str(error) or type(error).__name__) from None
        if monotonic() - start > seconds:  # the timeout of a socket starts again with each byte that arrives
            raise NoPrediction(f"the response took longer than {seconds:g} s")
        return best["label"], best["probability"]


@dataclass(frozen=True)
class Verdict:
    """The action for a part, and its reason."""

    part: str
    action: Action
    reason: str


@dataclass(frozen=True)
class InspectionLine:
    """Passes a part with an expected label, rejects one with another label, and stops when the prediction is unsure.

    A prediction is unsure when its probability is below `min_probability`, or when it takes longer than `seconds`.
    """

    classifier: PhotoClassifier
    expected: frozenset[str]
    min_probability: float = 0.5
    seconds: float = 1.0

    def inspect(self, part: str, photo: bytes) -> Verdict:
        try:
            label, probability = self.classifier.classify(photo, self.seconds)
        except NoPrediction as error:
            return Verdict(part, "stop", f"no prediction: {error}")
        prediction = f"{label}, {probability:.0%}"
        if probability < self.min_probability:
            return Verdict(part, "stop", f"unsure: {prediction}")
        return Verdict(part, "pass" if label in self.expected else "reject", prediction)

    def run(self, parts: Iterable[tuple[str, bytes]]) -> Iterator[Verdict]:
        """Inspects the parts in order. After a stop, the remaining parts are not inspected."""
        for part, photo in parts:
            verdict = self.inspect(part, photo)
            yield verdict
            if verdict.action == "stop":
                return


def main() -> int:
    """Inspects the photos. Gives the exit code: 0 when all parts were inspected, 1 when the line has stopped."""
    parser = argparse.ArgumentParser(prog="inspection", description="Inspect photos of parts, one after the other.")
    parser.add_argument("url")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument(
        "--expect", action="append", required=True, metavar="LABEL", help="a label that passes (repeatable)"
    )
    parser.add_argument("--min-probability", type=float, default=0.5, help="stop below this probability")
    parser.add_argument("--seconds", type=float, default=1.0, help="timeout for each part")
    given = parser.parse_args()
    key = os.environ.get("API_KEY")
    client = ClassifyClient(given.url, {"Authorization": f"Bearer {key}"} if key else None)
    line = InspectionLine(client, frozenset(given.expect), given.min_probability, given.seconds)
    verdict = None
    for verdict in line.run((path.name, path.read_bytes()) for path in given.photos):
        print(f"{verdict.action:6} {verdict.part}: {verdict.reason}")
    return int(verdict is not None and verdict.action == "stop")


if __name__ == "__main__":
    sys.exit(main())
