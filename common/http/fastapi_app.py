"""A service's FastAPI application: its routes, health, metrics and error bodies, and the OpenAPI document of all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException

from common import RELEASE
from common.errors import FieldError, InternalError, InvalidInput, MethodNotAllowed, NotFound, ServingError
from common.http.app import App, DirectRoute
from common.http.documentation import OPENAPI, add_keyed_documentation
from common.http.reply import render_error
from common.observability.tracing import open_spans
from common.request.context import current
from common.service import Service

_ASSETS = "/docs/assets"
Resources = Callable[[], AbstractAsyncContextManager[None]]


def build_app(
    service: Service, *, routers: Sequence[APIRouter], direct: Sequence[DirectRoute] = (), resources: Resources
) -> App:
    """A service's application, made of its routes; `resources` is entered before it serves and left afterwards."""
    keyed = service.keys is not None
    api = FastAPIOffline(  # /docs without a content delivery network
        docs_url=None if keyed else "/docs",
        redoc_url=None,
        static_url=_ASSETS,
        title=f"{service.settings.pattern}: {service.settings.service}",
        version=RELEASE,
        lifespan=lambda _: _lifespan(service, resources),
        redirect_slashes=False,
    )
    for router in (*routers, _operations(service)):
        api.include_router(router)
    _document(api, direct, keyed)
    if keyed:
        add_keyed_documentation(api, _ASSETS)
    routes = [*api.routes, *(route for router in routers for route in router.routes)]
    service.uncounted |= {path for route in routes if _of_the_page(path := getattr(route, "path", ""))}
    for kind, convert in _CONVERSIONS.items():
        api.add_exception_handler(kind, _handler(convert))
    service.open_paths = service.uncounted - {OPENAPI}
    return App(api, service, direct)


@asynccontextmanager
async def _lifespan(service: Service, resources: Resources) -> AsyncIterator[None]:
    service.spans = open_spans(f"{service.settings.pattern}-{service.settings.service}", RELEASE)
    try:
        async with resources():
            yield
    finally:
        if service.spans is not None and not await asyncio.to_thread(service.spans.close):
            service.logs.log.warning("spans lost: the trace collector did not take them in time")


def _of_the_page(path: str) -> bool:
    """Whether a route serves a file of the page or of the API documentation."""
    return path in ("/", OPENAPI) or path.startswith(("/page/", "/samples/", "/docs"))


def _operations(service: Service) -> APIRouter:
    router = APIRouter(tags=["operations"])
    health = service.health

    @router.get("/livez", summary="Is this process making progress?", responses={503: {}})
    async def livez() -> Response:
        return _health(health.not_live_reasons())

    @router.get("/readyz", summary="Can this service answer now?", responses={503: {}})
    async def readyz() -> Response:
        return _health(health.not_live_reasons() or health.not_ready_reasons())

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(service.metrics.registry), headers={"Content-Type": content_type})

    return router


def _health(reasons: list[str]) -> Response:
    body = {"status": "unavailable", "reasons": reasons} if reasons else {"status": "ok"}
    return Response(orjson.dumps(body), 503 if reasons else 200, media_type="application/json")


def _document(api: FastAPI, direct: Sequence[DirectRoute], keyed: bool) -> None:
    """Adds what the direct routes say of themselves, and that callers need a key, to the OpenAPI document."""
    generate = api.openapi

    def openapi() -> dict[str, Any]:
        schema = dict(generate())
        schemas = dict(schema.get("components", {}).get("schemas", {}))
        paths = dict(schema["paths"])
        for route in direct:
            document = route.document()
            paths |= document["paths"]
            schemas |= document["components"]["schemas"]
        components: dict[str, Any] = {"schemas": schemas}
        if keyed:
            components["securitySchemes"] = {"ApiKey": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"ApiKey": []}]
        return {**schema, "paths": paths, "components": components}

    api.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _handler(convert: Callable[[Any], ServingError]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(_: Request, error: Exception) -> Response:
        context, known = current.get(), convert(error)
        context.error = known.detail
        reply = render_error(known, context)
        headers = {name.decode(): value.decode() for name, value in reply.headers}
        return Response(reply.body, reply.status, headers, reply.content_type.decode())

    return handle


def _from_http(error: HTTPException) -> ServingError:
    if isinstance(error.__cause__, ServingError):  # raised while FastAPI was reading the body
        return error.__cause__
    if error.status_code == 404:
        return NotFound("this service has no such path; GET /docs lists its paths")
    if error.status_code == 405:
        return MethodNotAllowed("this path does not take this method", allowed=(error.headers or {}).get("Allow", ""))
    return InvalidInput(str(error.detail))


def _from_validation(error: RequestValidationError) -> ServingError:
    fields = [FieldError(_location(one["loc"]), one["msg"]) for one in error.errors()]
    return InvalidInput("; ".join(f"{one.field}: {one.reason}" for one in fields), fields=fields)


def _location(parts: Sequence[Any]) -> str:
    """`("body", "instances", 0, "sepal_length")` as `instances[0].sepal_length`."""
    text = ""
    for part in parts[1:] if len(parts) > 1 and parts[0] == "body" else parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


_CONVERSIONS: dict[type[Exception], Callable[[Any], ServingError]] = {
    ServingError: lambda error: error,
    HTTPException: _from_http,
    RequestValidationError: _from_validation,
    Exception: lambda _: InternalError.of(current.get().request_id),
}
