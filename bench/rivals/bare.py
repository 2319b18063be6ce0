"""The bare rival: a hand-written ASGI app that parses JSON, runs ONNX Runtime and responds. It validates nothing.

`uvicorn --factory bench.rivals.bare:create_app` with MODEL_FILE set; orjson on both sides, one thread for the model.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import onnxruntime as ort
import orjson

Message = dict[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
DATATYPES = {"float32": "FP32", "int64": "INT64"}


def single_threaded(model_file: str) -> ort.InferenceSession:
    """A session that computes in the calling thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model_file, options, providers=["CPUExecutionProvider"])


def create_app() -> Application:
    """The application for the model in MODEL_FILE."""
    session = single_threaded(os.environ["MODEL_FILE"])
    input_name = session.get_inputs()[0].name
    names = [output.name for output in session.get_outputs()]

    def infer(body: bytes) -> bytes:
        tensor = orjson.loads(body)["inputs"][0]
        rows = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
        outputs = [
            {
                "name": name,
                "shape": array.shape,
                "datatype": DATATYPES[array.dtype.name],
                "data": array.ravel().tolist(),
            }
            for name, array in zip(names, session.run(names, {input_name: rows}), strict=True)
        ]
        return orjson.dumps({"model_name": "bare", "model_version": "1", "outputs": outputs})

    async def app(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        answer = infer(body) if body else b'{"ready":true}'
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app
