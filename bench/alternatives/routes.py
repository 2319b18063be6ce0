"""The infer route of web_single without our HTTP protocol: the same handler behind FastAPI, Starlette or plain ASGI.

All three keep the envelope (id, trace, deadline, bounded body, metrics, access line) and the handler of `InferRoute`.
They differ in what reads the request body and what sends the response.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bench.alternatives.web_single import app_of, predictor_of
from common.envelope import Envelope, Outcome
from common.errors import ClientDisconnected, ServingError
from common.http.app import App, DirectRoute, plain_path
from common.http.body import BodyMemory, RequestBody
from common.http.reply import Reply, render_error
from common.observability.log import Logs
from common.request.context import RequestContext, current, never_disconnected
from common.roles.process import ServiceProcess
from common.service import Service
from patterns.web_single.settings import Settings as WebSettings

PATHS = ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")


class Settings(WebSettings):
    """web_single's settings, and what serves its infer route."""

    alternative: Literal["fastapi", "starlette", "asgi"] = Field("fastapi", description="What serves the infer route.")


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """web_single with its infer route served in another way."""
    service = Service(settings, logs)
    predictor = predictor_of(service, settings)
    (infer,) = predictor.direct
    own = [fastapi_router(infer)] if settings.alternative == "fastapi" else []
    app = app_of(service, predictor, own, direct=False)
    if settings.alternative == "starlette":
        app.api.router.routes[:0] = [Route(path, partial(respond, infer), methods=["POST"]) for path in PATHS]
    return ServiceProcess(AsgiApp(app, infer) if settings.alternative == "asgi" else app)


async def respond(route: DirectRoute, request: Request) -> Response:
    """The handler's reply as a Starlette response."""
    reply = await route.handle(current.get(), await request.body())
    headers = {name.decode(): value.decode() for name, value in reply.headers} if reply.headers else None
    return Response(reply.body, reply.status, headers, reply.content_type.decode())


def fastapi_router(route: DirectRoute) -> APIRouter:
    """The infer route as a FastAPI route that takes the request itself: no model, no dependency."""
    router = APIRouter()

    async def infer(request: Request) -> Response:
        return await respond(route, request)

    for path in PATHS:
        router.add_api_route(path, infer, methods=["POST"])
    return router


class AsgiApp(App):
    """An application whose one direct route is reached by uvicorn's own protocol and ASGI messages."""

    def __init__(self, app: App, route: DirectRoute) -> None:
        super().__init__(app.api, app.service)
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._route.match(plain_path(scope["path"])):
            await DirectAsgiCall(self._route, self.body_memory, receive, send).run(self.envelope, scope)
        else:
            await super().__call__(scope, receive, send)


class DirectAsgiCall:
    """One request to a direct route as a call of the envelope, over ASGI messages."""

    cancelled = Outcome(str(ClientDisconnected.status))

    def __init__(self, route: DirectRoute, memory: BodyMemory, receive: Receive, send: Send) -> None:
        self._route, self._body = route, RequestBody(memory)
        self._receive, self._send = receive, send

    async def run(self, envelope: Envelope, scope: Scope) -> None:
        """Handles the request."""
        method, path, headers = scope["method"], plain_path(scope["path"]), dict(scope["headers"])
        context = envelope.open(method, path, headers, query=scope["query_string"], disconnected=never_disconnected)
        try:
            await envelope.run(context, self)
        finally:
            self._body.release()

    async def handle(self, context: RequestContext) -> Reply:
        """The route's response."""
        self._body.expect(context.headers)
        more = True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientDisconnected("the client disconnected before its body had arrived")
            self._body.feed(message["body"])
            more = message["more_body"]
        self._body.complete()
        body = await self._body.read(context.deadline)
        context.bytes_in = self._body.size
        return await self._route.handle(context, body)

    def error_response(self, error: ServingError, context: RequestContext) -> Reply:
        """The error as JSON."""
        return render_error(error, context)

    async def respond(self, context: RequestContext, response: Reply) -> Outcome:
        """Sends the response as two messages."""
        lines = (line.partition(b": ") for line in context.response_headers().splitlines())
        length = (b"content-length", b"%d" % len(response.body))
        own = [(b"content-type", response.content_type), length, *response.headers]
        headers = [*own, *((name, value) for name, _, value in lines)]
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": response.body})
        return Outcome(str(response.status), len(response.body), response.status >= 500)
