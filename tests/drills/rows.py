"""What the drills of every pattern need to know of each: one request with its right answer, and the services behind it.

A row starts on every runtime of its own; what the drills break is its entry, or one of the services behind it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from runtimes.base import Stack
from tests import load
from tests.asking import parallel, prep_pred, serial, synchronous
from tests.support import INFER, SETOSA, direct_url, question

TIMEOUT = "X-Request-Timeout-Seconds"
SLACK = 1.5  # seconds that a busy machine may add to a deadline


@dataclass(frozen=True)
class Row:
    """A pattern, in one of its variants.

    `behind` leads from the services that it cannot answer without to how its errors name them; `right` is part of every
    right answer. A load is in `full_flow` after so many answers. What is `quick` starts at once as local processes.
    """

    pattern: str
    variant: str | None
    entry: str
    path: str
    body: Any
    right: bytes
    media: str = "application/json"
    behind: Mapping[str, str] = field(default_factory=dict)
    full_flow: int = 60
    quick: bool = False

    def __str__(self) -> str:
        return ".".join(filter(None, (self.pattern, self.variant)))

    def request(self, **headers: str) -> bytes:
        """The request as it goes over the wire."""
        return load.request(self.path, self.body, media=self.media, **headers)

    def is_right(self, body: bytes) -> bool:
        return self.right in body

    def ask(self, stack: Stack, seconds: float = 10) -> tuple[httpx.Response, float]:
        """The response of the entry to a request with that deadline, and after how many seconds it came."""
        sent: dict[str, Any] = {"content": self.body} if isinstance(self.body, bytes) else {"json": self.body}
        headers = {"Content-Type": self.media, TIMEOUT: str(seconds)}
        start = time.monotonic()
        url = direct_url(stack, self.entry) + self.path
        response = httpx.post(url, headers=headers, timeout=seconds + 10, **sent)
        return response, time.monotonic() - start

    def works(self, stack: Stack) -> bool:
        """Whether the entry gives the right answer."""
        try:
            response, _ = self.ask(stack)
        except httpx.TransportError:
            return False
        return response.status_code == 200 and self.is_right(response.content)


ONE_PENGUIN = {"instances": [prep_pred.PENGUIN]}
ROWS = [
    Row("web_single", None, "api", INFER, question(SETOSA), b'"model_name":"iris","model_version":"1"', quick=True),
    Row("synchronous", None, "api", "/classify", synchronous.CAT, b'"tiger cat"', "image/jpeg", full_flow=20),
    Row("prep_pred", None, "prep", "/predict/penguins", ONE_PENGUIN, b'"label":"Gentoo"',
        behind={"predictor": "predictor predictor.penguins"}),
    Row("prep_pred", "proxy", "proxy", "/predict/penguins", ONE_PENGUIN, b'"label":"Gentoo"',
        behind={half: f"predictor {half}.penguins" for half in ("prep", "predictor")}),
    Row("serial", None, "proxy", "/read", serial.sample("page.jpg"), b"segmentation", "image/jpeg",
        {stage: f"predictor {stage}" for stage in serial.STAGES[:3]}, full_flow=4),
    Row("parallel", None, "proxy", "/predict", {"instances": parallel.instances(parallel.ROWS[0])}, b'"label":"setosa"',
        behind={"iris-rf": "predictor iris_rf"}, quick=True),
]  # fmt: skip
