"""A predictor that computes nothing and always returns the same correct response, so that only its caller is measured.

`python -m bench.rivals.stand_in MODEL_FOLDER PORT` takes a built model's place (its model.yaml is enough): metadata,
readiness, and infer in JSON or, where the request speaks of binary data, in binary; where it names outputs, the first
of the model's is what it gets. Answers are for one row.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import uvloop
import yaml
from numpy.typing import NDArray

from bench.plan import LOCAL

Outputs = dict[str, NDArray[np.generic]]
DTYPES = {"FP32": "<f4", "INT64": "<i8"}
FIRST = 0.8  # of a row of probabilities; the others share the rest


def message(body: bytes, header_length: int | None = None) -> bytes:
    """A whole HTTP response; binary when the length of its JSON header is given."""
    kind, extra = "application/json", ""
    if header_length is not None:
        kind, extra = "application/octet-stream", f"Inference-Header-Content-Length: {header_length}\r\n"
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a built model."""
    manifest: dict[str, Any] = yaml.safe_load((folder / "model.yaml").read_text())
    return manifest


def constant(spec: Mapping[str, Any]) -> NDArray[np.generic]:
    """One row of an output: the first class with probability 0.8; a single number is 0.8."""
    shape = [max(size, 1) for size in spec["shape"]]
    if spec["datatype"] == "INT64":
        return np.zeros(shape, "<i8")
    rest = (1 - FIRST) / max(shape[-1] - 1, 1)
    row = [FIRST, *[rest] * (shape[-1] - 1)]
    return np.broadcast_to(np.array(row, "<f4"), shape)


def constants(manifest: Mapping[str, Any]) -> Outputs:
    """The outputs that a stand-in of this model returns, by name."""
    return {spec["name"]: constant(spec) for spec in manifest["outputs"]}


def described_as(name: str, array: NDArray[np.generic]) -> dict[str, Any]:
    """The protocol's description of an output, without its data."""
    return {"name": name, "datatype": "INT64" if array.dtype == "<i8" else "FP32", "shape": array.shape}


def in_json(manifest: Mapping[str, Any], data: Outputs) -> bytes:
    """The infer response with its data in JSON."""
    outputs = [{**described_as(name, array), "data": array.ravel().tolist()} for name, array in data.items()]
    return message(encoded(named(manifest) | {"outputs": outputs}))


def in_binary(manifest: Mapping[str, Any], data: Outputs) -> bytes:
    """The infer response with binary data behind the JSON header."""
    outputs = [
        {**described_as(name, array), "parameters": {"binary_data_size": array.nbytes}} for name, array in data.items()
    ]
    header = encoded(named(manifest) | {"outputs": outputs})
    return message(header + b"".join(array.tobytes() for array in data.values()), len(header))


def described(manifest: Mapping[str, Any]) -> bytes:
    """The response to GET /v2/models/{model}."""
    columns = [column["name"] for column in manifest["inputs"][0].get("features", [])]
    properties = {
        "preprocessing_fingerprint": manifest["preprocessing"]["fingerprint"],
        "task": manifest["task"],
        "unit": manifest.get("unit", ""),
        "labels": json.dumps(manifest.get("labels", [])),
        "features": json.dumps(columns),
    }
    inputs = [{key: one[key] for key in ("name", "datatype", "shape")} for one in manifest["inputs"]]
    outputs = [{key: one[key] for key in ("name", "datatype", "shape")} for one in manifest["outputs"]]
    about = {"name": manifest["name"], "versions": [manifest["version"]], "platform": "onnx_onnxv1"}
    return message(encoded(about | {"inputs": inputs, "outputs": outputs, "properties": properties}))


def named(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Name and version of the model."""
    return {"model_name": manifest["name"], "model_version": manifest["version"]}


def encoded(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


class Answers:
    """All responses of a stand-in, as whole HTTP messages."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        everything = constants(manifest)
        first = dict(list(everything.items())[:1])
        self.infer = {
            (binary, one is first): (in_binary if binary else in_json)(manifest, one)
            for binary in (True, False)
            for one in (everything, first)
        }
        self.metadata = described(manifest)
        self.ready = message(encoded({"name": manifest["name"], "ready": True}))

    def to(self, head: bytes, body: bytes) -> bytes:
        """The response to a request."""
        if head.startswith(b"POST"):
            return self.infer[b'"binary_data' in body, b'"outputs"' in body]
        path = head.split(b" ", 2)[1]
        return self.ready if b"/models/" not in path or path.endswith(b"/ready") else self.metadata


class StandIn(asyncio.Protocol):
    """One connection; requests may arrive in pieces or several at once."""

    def __init__(self, answer: Callable[[bytes, bytes], bytes]) -> None:
        self.answer, self.rest = answer, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.rest += data
        while (at := self.rest.find(b"\r\n\r\n")) >= 0:
            head, begin = self.rest[:at], at + 4
            end = begin + body_length(head)
            if len(self.rest) < end:
                return
            body, self.rest = self.rest[begin:end], self.rest[end:]
            self.transport.write(self.answer(head, body))


def body_length(head: bytes) -> int:
    """The Content-Length of a request, 0 where it has none."""
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    return int(lower[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def serve(manifest: Mapping[str, Any], port: int) -> None:
    """Serve until the process is ended."""
    answers = Answers(manifest)
    server = await asyncio.get_running_loop().create_server(lambda: StandIn(answers.to), LOCAL, port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(read_manifest(Path(sys.argv[1])), int(sys.argv[2])))
