"""What a row of the table of patterns says: everything that the conformance tests need to know of a pattern."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
JSON = "application/json"
THIRD_PARTY = {"balancer", "redis", "store"}  # services that run an image of others, and so neither our health nor logs


def encoded(body: Any) -> bytes:
    """Bytes as they are, anything else as JSON."""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@dataclass(frozen=True)
class Request:
    """A POST to the pattern's own route; `check` takes the JSON of the response and raises AssertionError if wrong."""

    path: str
    body: Any
    check: Callable[[Any], None]
    content_type: str = JSON

    @property
    def content(self) -> bytes:
        """The body as it is sent."""
        return encoded(self.body)


@dataclass(frozen=True)
class WrongRequest:
    """A POST to the pattern's own route that has to be refused with this status and name this field."""

    name: str
    path: str
    body: Any
    field: str
    status: int = 400
    content_type: str = JSON

    @property
    def content(self) -> bytes:
        """The body as it is sent."""
        return encoded(self.body)


@dataclass(frozen=True)
class Inference:
    """A request of the Open Inference Protocol to a model of the entry.

    `inputs` makes the tensors by name (numpy arrays; BYTES are arrays of objects); `check` takes the outputs as arrays.
    """

    model: str
    inputs: Callable[[], dict[str, Array]]
    check: Callable[[dict[str, Array]], None]


@dataclass(frozen=True)
class Page:
    """The page at `/` shows `shown` (a selector) once it has an answer; the button `sample` brings `answer`."""

    shown: str
    sample: str
    answer: str


@dataclass(frozen=True, eq=False)
class Row:
    """One pattern in one variant (None is the default, which also runs on the cluster).

    `services` are the instances as `Stack.status` names them. `entry` is the service that is published; behind a
    balancer, `front` is the service that answers. `predictors` run models. `stages` are the entries of Server-Timing
    before `total` for the first request. `behind` are the services without which the entry
    cannot answer, each with the name that errors give it. `callers` may ask at the same time without being refused.
    """

    pattern: str
    variant: str | None
    services: tuple[str, ...]
    entry: str
    predictors: tuple[str, ...]
    requests: tuple[Request, ...]
    wrong: tuple[WrongRequest, ...]
    inference: Inference
    page: Page
    stages: tuple[str, ...]
    route: str
    behind: Mapping[str, str] = field(default_factory=dict)
    front: str = ""
    callers: int = 6

    @property
    def id(self) -> str:
        return ".".join(filter(None, (self.pattern, self.variant)))

    @property
    def answering(self) -> str:
        """The service whose HTTP interface the client meets, behind the balancer if there is one."""
        return self.front or self.entry

    @property
    def own_services(self) -> tuple[str, ...]:
        """The instances that run this project's code."""
        return tuple(name for name in self.services if name not in THIRD_PARTY)
