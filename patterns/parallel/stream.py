"""POST /predict/stream: the answer of each predictor when it arrives, and at the end the combined prediction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from common.composition.flow import Gathered, as_they_finish
from common.endpoints.large import encoded
from common.errors import ServingError
from common.protocol.json_body import Payload
from common.request.context import RequestContext, current
from patterns.parallel.composition import reasons
from patterns.parallel.ensemble import Calls
from patterns.parallel.member import MemberResponse
from patterns.parallel.predict import PATH, EnsembleRoute, answer_size, response_body
from patterns.parallel.settings import Aggregation

EVENTS, LINES = "text/event-stream", "application/x-ndjson"


def stream_routes(predict: EnsembleRoute) -> APIRouter:
    """The stream, as server-sent events when the client accepts them, else as one JSON object for each line."""
    router = APIRouter(tags=["predict"])

    @router.post(f"{PATH}/stream", summary="Predict with all predictors, as a stream", response_class=StreamingResponse)
    async def stream(request: Request) -> StreamingResponse:
        context = current.get()
        media = EVENTS if EVENTS.encode() in context.headers.get(b"accept", b"") else LINES
        lines = await answer_lines(context, predict, await request.body(), media)
        return StreamingResponse(lines, media_type=media)

    return router


async def answer_lines(
    context: RequestContext, predict: EnsembleRoute, body: Payload, media: str
) -> AsyncIterator[bytes]:
    """The answer to a request, each event encoded. The request has been decoded and checked when this returns."""
    calls, aggregation = await predict.prepare_calls(context, body)
    return _lines(context, _events(context, predict, calls, aggregation), media)


class _Event(NamedTuple):
    """`answer` or `missing` for each predictor, then `predictions` or `failed`. `size`: about its bytes as JSON."""

    kind: str
    content: Callable[[], dict[str, Any]]
    size: int = 0


async def _events(
    context: RequestContext, predict: EnsembleRoute, calls: Calls, aggregation: Aggregation
) -> AsyncIterator[_Event]:
    parallel = predict.parallel
    answers: dict[str, MemberResponse] = {}
    missing: dict[str, ServingError] = {}
    needed = len(calls) if parallel.ensemble.needed is None else parallel.ensemble.needed
    async for name, response in as_they_finish(context, calls):
        event = {"name": name, "ms": round((perf_counter() - context.started) * 1e3, 3)}
        if isinstance(response, ServingError):
            missing[name] = response
            yield _Event("missing", partial(dict, **event, reason=response.detail))
        else:
            answers[name] = response
            yield _Event("answer", partial(_answer, event, response), response.json_size())
        if len(calls) - len(missing) < needed:
            break
    found = Gathered({name: answers[name] for name in calls if name in answers}, missing)
    try:
        if len(answers) < needed:
            texts = dict.fromkeys(one.detail for one in missing.values())  # each once: they may be all of the store
            raise type(next(iter(missing.values())))("; ".join(texts))
        parallel.ensemble.check_classifiers(found)
    except ServingError as error:
        context.error = error.detail
        yield _Event("failed", partial(dict, status=error.status, detail=error.detail, missing=reasons(found)))
    else:
        yield _Event("predictions", partial(response_body, found, aggregation), answer_size(found))


def _answer(event: dict[str, Any], response: MemberResponse) -> dict[str, Any]:
    return {**event, "model": response.model, "answers": response.as_rows()}


async def _lines(context: RequestContext, events: AsyncIterator[_Event], media: str) -> AsyncIterator[bytes]:
    async for event in events:
        yield await encoded(context, event.size, _line, event, media)


def _line(event: _Event, media: str) -> bytes:
    content = event.content()
    if media == EVENTS:
        return b"event: %b\ndata: %b\n\n" % (
            event.kind.encode(),
            orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY),
        )
    return orjson.dumps({"event": event.kind, **content}, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"
