"""A row whose services are up, and how they are asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import httpx

from runtimes.base import Stack
from tests.oip import HEADER_LENGTH, binary_inputs, json_inputs
from tests.rows import THIRD_PARTY, Request, Row, WrongRequest
from tests.support import client, metric

SECONDS = 30  # that a response may take on a busy machine


@dataclass(frozen=True)
class Served:
    """The stack of a row; paths are those of the entry."""

    row: Row
    stack: Stack

    @cached_property
    def url(self) -> str:
        """The entry's, which a restart does not change; a runtime asks its engine for it, which takes a moment."""
        return self.stack.url()

    @property
    def infer_path(self) -> str:
        return f"/v2/models/{self.row.inference.model}/infer"

    def ask(self, method: str, path: str, **how: Any) -> httpx.Response:
        return client().request(method, self.url + path, timeout=SECONDS, **how)

    def get(self, path: str, **how: Any) -> httpx.Response:
        return self.ask("GET", path, **how)

    def send(self, request: Request | WrongRequest, **headers: str) -> httpx.Response:
        """Sends a request of the table."""
        given = {"Content-Type": request.content_type, **headers}
        return self.ask("POST", request.path, content=request.content, headers=given)

    def answered(self, request: Request, **headers: str) -> httpx.Response:
        """Sends a request of the table and checks the response."""
        response = self.send(request, **headers)
        assert response.status_code == 200, response.text
        request.check(response.json())
        return response

    def infer_json(self, body: dict[str, Any] | None = None, path: str = "", **headers: str) -> httpx.Response:
        """An inference in JSON, the row's own unless another body is given."""
        content = json_inputs(self.row.inference.inputs()) if body is None else body
        return self.ask("POST", path or self.infer_path, json=content, headers=headers)

    def infer_binary(self, path: str = "", **headers: str) -> httpx.Response:
        """The row's inference with binary tensors in and out."""
        content, size = binary_inputs(self.row.inference.inputs())
        given = {HEADER_LENGTH: str(size), "Content-Type": "application/octet-stream", **headers}
        return self.ask("POST", path or self.infer_path, content=content, headers=given)

    def instances(self, service: str) -> list[str]:
        """The base URL of every running instance of a service."""
        return self.stack.replicas(service)

    def counted(self, service: str, name: str, **labels: str) -> float:
        """The sum of a metric over every instance of a service."""
        return sum(metric(base, name, **labels) for base in self.instances(service))

    def own_instances(self) -> dict[str, str]:
        """The base URL of each instance that runs this project's code, by its name."""
        return {name: self.stack.url(name) for name in self.row.own_services}

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the entry."""
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port

    @property
    def balanced(self) -> bool:
        """Whether a balancer of others stands between the client and this project's code."""
        return self.row.entry in THIRD_PARTY
