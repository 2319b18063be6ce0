"""A service's HTTP application: direct routes, and every other route on FastAPI, in the same envelope.

- A *direct* route is a function from a context and a body to a Reply, with no framework in between. It is for the few
  routes that carry the load; `common/http/protocol.py` brings their requests.
- Every other route is FastAPI's. For these `App` is an ASGI application (`common/http/asgi_call.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import unquote

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from common.envelope import Envelope
from common.http.asgi_call import AsgiCall
from common.http.body import BodyMemory
from common.http.cors import Cors
from common.http.reply import Reply
from common.protocol.json_body import Payload
from common.request.context import RequestContext
from common.service import Service


class DirectRoute(Protocol):
    """A route without a framework. It takes POST, or the methods in its attribute `methods` if it has one."""

    def match(self, path: str) -> bool:
        """Whether this route handles a path."""

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        """The response; sets `context.route` to the route's template. Raises ServingError."""

    def document(self) -> dict[str, Any]:
        """Its part of the OpenAPI document: `paths` and `components`."""


class App:
    """A service's application."""

    def __init__(self, api: FastAPI, service: Service, direct: Sequence[DirectRoute] = ()) -> None:
        self.api, self.service = api, service
        self.envelope, self.body_memory = Envelope(service), BodyMemory(service)
        self._direct = tuple(direct)
        self.cors = Cors(service.settings.origins) if service.settings.origins else None

    def direct_route(self, path: str) -> DirectRoute | None:
        """The direct route that handles a path, if one does."""
        for route in self._direct:
            if route.match(path):
                return route
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request on the FastAPI application."""
        if scope["type"] != "http":
            await self.api(scope, receive, send)
            return
        scope["path"] = plain_path(scope["raw_path"].decode("ascii"))
        call = AsgiCall(self.api, self.service, self.body_memory, scope, (receive, send), self.cors)
        await call.run(self.envelope)


def plain_path(raw: str) -> str:
    """A path as routes match it: decoded, and under /v2 without its last slash, which means nothing there.

    `%2F` stays as it is, since a slash inside of a name must not separate two parts of the path.
    """
    path = raw
    if "%" in raw:
        path = "%2F".join(map(unquote, re.split("%2[Ff]", raw)))
    return path.rstrip("/") if path.endswith("/") and path.startswith("/v2") else path
