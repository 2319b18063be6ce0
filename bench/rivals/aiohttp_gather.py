"""The fastest composing proxy in Python with a common client: a bare ASGI app, orjson, aiohttp and gather.

`uvicorn --factory bench.rivals.aiohttp_gather:create_app` with PREDICTORS=name=http://host:port,... set. Its responses
are those of `fastapi_httpx_gather`; it validates nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson

from bench.rivals.bare import Application, Message
from bench.rivals.fastapi_httpx_gather import predictors

HEADERS = {"Content-Type": "application/json"}
WANTED = [{"name": "probabilities"}]


def composed(answers: list[dict[str, Any]]) -> bytes:
    """The response body, made of all predictors' responses."""
    rows = [answer["outputs"][0]["data"] for answer in answers]
    row = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    outputs = [
        {"name": "probabilities", "shape": [1, len(row)], "datatype": "FP32", "data": row},
        {"name": "label", "shape": [1], "datatype": "INT64", "data": [row.index(max(row))]},
    ]
    return orjson.dumps({"model_name": "bare", "model_version": "1", "outputs": outputs})


def create_app() -> Application:
    """The application for the predictors in PREDICTORS."""
    urls = list(predictors().values())
    sessions: list[aiohttp.ClientSession] = []  # one, made by the first request: it belongs to the running loop

    async def ask(session: aiohttp.ClientSession, url: str, content: bytes) -> dict[str, Any]:
        async with session.post(url, data=content, headers=HEADERS) as answer:
            found: dict[str, Any] = orjson.loads(await answer.read())
            return found

    async def infer(body: bytes) -> bytes:
        if not sessions:
            sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        content = orjson.dumps({"inputs": orjson.loads(body)["inputs"], "outputs": WANTED})
        return composed(await asyncio.gather(*(ask(sessions[0], url, content) for url in urls)))

    async def app(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        answer = await infer(body) if body else b'{"ready":true}'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app
