"""A service with routes of both kinds, which answer, refuse, fail and wait."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field

from common.errors import DeadlineExceeded, InvalidInput, NotReady, Overloaded
from common.http.app import App
from common.http.fastapi_app import build_app
from common.http.reply import Reply
from common.protocol.json_body import Payload
from common.request.context import RequestContext, current
from common.service import Service


class Direct:
    """POST to /direct/... and /v2/direct/...: the last part of the path says what happens."""

    def match(self, path: str) -> bool:
        return path.startswith(("/direct/", "/v2/direct/"))

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        context.route = "/direct/{what}"
        what = context.path.rpartition("/")[2]
        if what == "refuse":
            raise InvalidInput.at("instances[0]", "expected a number")
        if what == "busy":
            raise Overloaded("the queue is full", retry_after=1.2)
        if what == "never":
            raise Overloaded("the queue is full", retry_after=float("inf"))
        if what == "fail":
            raise RuntimeError("something broke")
        if what == "length":
            return Reply(200, b"%d" % len(body))
        if what == "left":
            return Reply(200, b"%.3f" % context.deadline.remaining)
        if what == "gone":
            await context.disconnected()
            context.error = "the caller left"
        return Reply(200, bytes(body), b"application/octet-stream")

    def document(self) -> dict[str, Any]:
        return {"paths": {"/direct/{what}": {"post": {}}}, "components": {"schemas": {"Direct": {"type": "object"}}}}


class Item(BaseModel):
    size: int = Field(ge=0)
    name: str = ""


def routes() -> APIRouter:
    router = APIRouter()

    @router.get("/hello/{name}")
    async def hello(name: str) -> dict[str, str]:
        return {"hello": name, "request_id": current.get().request_id}

    @router.get("/large")
    async def large() -> Response:
        return Response(bytes(8_000_000))

    @router.post("/items")
    async def items(items: list[Item]) -> int:
        return sum(item.size for item in items)

    @router.get("/fail")
    async def fail() -> None:
        raise RuntimeError("something broke")

    @router.get("/late")
    async def late() -> None:
        raise DeadlineExceeded("too late")

    @router.get("/v2/loading")
    async def loading() -> None:
        raise NotReady("still loading", retry_after=0.2)

    return router


def resources() -> AbstractAsyncContextManager[None]:
    return nullcontext()


def example_app(service: Service) -> App:
    return build_app(service, routers=[routes()], direct=[Direct()], resources=resources)
