"""POST /predict/stream: the answer of each predictor when it arrives, and at the end the combined prediction."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import perf_counter
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from common.composition.flow import Gathered, as_they_finish
from common.errors import ServingError
from common.request.context import RequestContext, current
from patterns.parallel.composition import reasons
from patterns.parallel.ensemble import Calls
from patterns.parallel.member import MemberResponse
from patterns.parallel.predict import PATH, EnsembleRoute, response_body
from patterns.parallel.settings import Aggregation

EVENTS, LINES = "text/event-stream", "application/x-ndjson"


def stream_routes(predict: EnsembleRoute) -> APIRouter:
    """The stream, as server-sent events when the client accepts them, else as one JSON object for each line."""
    router = APIRouter(tags=["predict"])

    @router.post(f"{PATH}/stream", summary="Predict with all predictors, as a stream", response_class=StreamingResponse)
    async def stream(request: Request) -> StreamingResponse:
        context = current.get()
        calls, aggregation = await predict.prepare_calls(context, await request.body())
        media = EVENTS if EVENTS.encode() in context.headers.get(b"accept", b"") else LINES
        return StreamingResponse(_encoded(_events(context, predict, calls, aggregation), media), media_type=media)

    return router


async def _events(
    context: RequestContext, predict: EnsembleRoute, calls: Calls, aggregation: Aggregation
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Events as (kind, content): `answer` or `missing` for each predictor, then `predictions` or `failed`."""
    parallel = predict.parallel
    answers: dict[str, MemberResponse] = {}
    missing: dict[str, ServingError] = {}
    needed = len(calls) if parallel.ensemble.needed is None else parallel.ensemble.needed
    async for name, response in as_they_finish(context, calls):
        event = {"name": name, "ms": round((perf_counter() - context.started) * 1e3, 3)}
        if isinstance(response, ServingError):
            missing[name] = response
            yield "missing", {**event, "reason": response.detail}
        else:
            answers[name] = response
            yield "answer", {**event, "model": response.model, "answers": response.as_rows()}
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
        yield "failed", {"status": error.status, "detail": error.detail, "missing": reasons(found)}
    else:
        yield "predictions", response_body(found, aggregation)


async def _encoded(events: AsyncIterator[tuple[str, dict[str, Any]]], media: str) -> AsyncIterator[bytes]:
    async for kind, content in events:
        if media == EVENTS:
            yield b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))
        else:
            yield orjson.dumps({"event": kind, **content}, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"
