"""A common hand-written proxy: FastAPI, pydantic, httpx and asyncio.gather.

`uvicorn --factory bench.rivals.fastapi_httpx_gather:create_app` with PREDICTORS=name=http://host:port,... set. It takes
one row in the Open Inference Protocol and returns the mean of all predictors' probabilities and the most likely label.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from pydantic import BaseModel

from bench.rivals.fastapi_app import InferRequest, InferResponse, OutputTensor

TIMEOUT_SECONDS = 5.0


class Ready(BaseModel):
    """The response to a probe."""

    ready: bool = True


class Output(BaseModel):
    """A requested output."""

    name: str


class MemberRequest(InferRequest):
    """The request to each predictor: the same inputs, only probabilities as output."""

    outputs: list[Output]


def predictors() -> dict[str, str]:
    """URL of each predictor's infer route by its name, from PREDICTORS."""
    listed = (one.split("=", 1) for one in os.environ["PREDICTORS"].split(","))
    return {name: f"{url}/v2/models/{name}/infer" for name, url in listed}


def mean(answers: list[InferResponse]) -> list[float]:
    """The mean of the responses' probabilities for each class."""
    rows = [answer.outputs[0].data for answer in answers]
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def create_app() -> FastAPI:
    """The application for the predictors in PREDICTORS."""
    urls = predictors()
    client = httpx.AsyncClient(
        timeout=TIMEOUT_SECONDS, limits=httpx.Limits(max_connections=None, max_keepalive_connections=None)
    )

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    app = FastAPI(lifespan=closing)

    async def ask(url: str, content: bytes) -> InferResponse:
        answer = await client.post(url, content=content, headers={"Content-Type": "application/json"})
        answer.raise_for_status()
        return InferResponse.model_validate_json(answer.content)

    @app.get("/v2/health/ready")
    async def ready() -> Ready:
        return Ready()

    @app.post("/v2/models/{model}/infer")
    async def infer(model: str, request: InferRequest) -> InferResponse:
        content = (
            MemberRequest(inputs=request.inputs, outputs=[Output(name="probabilities")]).model_dump_json().encode()
        )
        answers = await asyncio.gather(*(ask(url, content) for url in urls.values()))
        row = mean(answers)
        outputs = [
            OutputTensor(name="probabilities", shape=[1, len(row)], datatype="FP32", data=row),
            OutputTensor(name="label", shape=[1], datatype="INT64", data=[row.index(max(row))]),
        ]
        return InferResponse(model_name=model, model_version="1", outputs=outputs)

    return app
