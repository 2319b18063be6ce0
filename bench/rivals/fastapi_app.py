"""A common hand-written service: FastAPI with pydantic models of the Open Inference Protocol.

`uvicorn --factory bench.rivals.fastapi_app:create_app` with MODEL_FILE set.
"""

import os
from typing import Literal

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

from bench.rivals.bare import DATATYPES, single_threaded


class InputTensor(BaseModel):
    """A tensor of the request, row-major."""

    name: str
    shape: list[int]
    datatype: Literal["FP32"]
    data: list[float]


class OutputTensor(BaseModel):
    """A tensor of the response, row-major."""

    name: str
    shape: list[int]
    datatype: str
    data: list[int] | list[float]


class InferRequest(BaseModel):
    """The body of a request."""

    inputs: list[InputTensor]


class InferResponse(BaseModel):
    """The body of a response."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]


def create_app() -> FastAPI:
    """The application for the model in MODEL_FILE."""
    app = FastAPI()
    session = single_threaded(os.environ["MODEL_FILE"])
    input_name = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]

    @app.get("/v2/health/ready")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/v2/models/{model}/infer")
    async def infer(model: str, request: InferRequest) -> InferResponse:
        tensor = request.inputs[0]
        rows = np.array(tensor.data, np.float32).reshape(tensor.shape)
        outputs = [
            OutputTensor(
                name=name, shape=list(array.shape), datatype=DATATYPES[array.dtype.name], data=array.ravel().tolist()
            )
            for name, array in zip(names, session.run(names, {input_name: rows}), strict=True)
        ]
        return InferResponse(model_name=model, model_version="1", outputs=outputs)

    return app
