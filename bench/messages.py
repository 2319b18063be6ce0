"""Builds requests before the load starts and reads responses: Open Inference Protocol over HTTP and gRPC.

Written without the code that is measured, so that both cannot share a mistake. This is the client's half of the
protocol, for FP32 inputs only.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import grpc
import numpy as np
import yaml
from numpy.typing import NDArray

from bench.plan import LOCAL
from bench.process import BenchError

Outputs = dict[str, NDArray[np.generic]]
DATATYPES = {"FP32": "<f4", "INT64": "<i8"}
MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
JSON, BINARY = "application/json", "application/octet-stream"
HEADER_LENGTH = "Inference-Header-Content-Length"
IRIS_LOW, IRIS_HIGH = (4.3, 2.0, 1.0, 0.1), (7.9, 4.4, 6.9, 2.5)
SEED = 20


@dataclass(frozen=True)
class Model:
    """A built model: its name, its file, and what its input is called."""

    name: str
    file: Path
    input_name: str

    @classmethod
    def built(cls, repository: Path, name: str) -> "Model":
        """Version 1 of a model in the repository. Raises BenchError when it is not built."""
        folder = repository / name / "1"
        if not (folder / "model.onnx").is_file():
            raise BenchError(f"the model {name} is not built; run `make models`")
        manifest = yaml.safe_load((folder / "model.yaml").read_text())
        return cls(name, folder / "model.onnx", manifest["inputs"][0]["name"])

    @property
    def infer_path(self) -> str:
        """Path of its infer route over HTTP."""
        return f"/v2/models/{self.name}/infer"


def iris_rows(count: int) -> list[NDArray[np.float32]]:
    """Rows within the range of the iris data set, each of shape (1, 4), in cm; the same in every run."""
    values = np.random.default_rng(SEED).uniform(IRIS_LOW, IRIS_HIGH, (count, 1, 4))
    return list(values.round(1).astype(np.float32))


def image_tensors(count: int) -> list[NDArray[np.float32]]:
    """Noise from -1 to 1, each of shape (1, 3, 224, 224): a run takes as long as with a normalised photo."""
    values = np.random.default_rng(SEED).uniform(-1.0, 1.0, (count, 1, 3, 224, 224))
    return list(values.astype(np.float32))


def http_request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A whole HTTP/1.1 POST request."""
    lines = {"Host": LOCAL, "User-Agent": "bench", "Accept": "*/*", **headers, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def json_body(model: Model, tensor: NDArray[np.float32]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an inference request in JSON, numbers in their shortest form."""
    data = [float(str(value)) for value in tensor.ravel()]
    one = {"name": model.input_name, "shape": list(tensor.shape), "datatype": "FP32", "data": data}
    return json.dumps({"inputs": [one]}, separators=(",", ":")).encode(), {"Content-Type": JSON}


def binary_body(model: Model, tensor: NDArray[np.float32]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an inference request with binary tensors, which asks for binary outputs."""
    raw = tensor.astype("<f4").tobytes()
    one = {
        "name": model.input_name,
        "shape": list(tensor.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw)},
    }
    header = json.dumps({"inputs": [one], "parameters": {"binary_data_output": True}}, separators=(",", ":")).encode()
    return header + raw, {"Content-Type": BINARY, HEADER_LENGTH: str(len(header))}


def varint(value: int) -> bytes:
    """A protobuf variable-length integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def grpc_request(model: Model, tensor: NDArray[np.float32]) -> bytes:
    """A serialized ModelInferRequest: model_name 1, inputs 5 {name 1, datatype 2, shape 3}, raw_input_contents 7."""
    shape = b"".join(map(varint, tensor.shape))
    described = field(1, model.input_name.encode()) + field(2, b"FP32") + field(3, shape)
    return field(1, model.name.encode()) + field(5, described) + field(7, tensor.astype("<f4").tobytes())


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The variable-length integer at a position, and the position after it."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a serialized protobuf that has no others."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        if key & 7 != 2:
            raise BenchError(f"field {key >> 3} of the response has wire type {key & 7}, expected 2 (length-delimited)")
        length, at = read_varint(data, at)
        yield key >> 3, data[at : at + length]
        at += length


def read_grpc(answer: bytes) -> Outputs:
    """The tensors of a ModelInferResponse, flat: outputs 5 {name 1, datatype 2}, raw_output_contents 6."""
    parts = list(fields(answer))
    described = [dict(fields(payload)) for number, payload in parts if number == 5]
    raw = [payload for number, payload in parts if number == 6]
    return {
        one[1].decode(): np.frombuffer(data, DATATYPES[one[2].decode()])
        for one, data in zip(described, raw, strict=True)
    }


def read_http(body: bytes, header_length: int | None) -> Outputs:
    """Flat tensors of an HTTP response: JSON, or binary when the length of its JSON header is given."""
    at = len(body) if header_length is None else header_length
    outputs: Outputs = {}
    for one in json.loads(body[:at])["outputs"]:
        datatype, size = DATATYPES[one["datatype"]], one.get("parameters", {}).get("binary_data_size")
        if size is None:
            outputs[one["name"]] = np.array(one["data"], datatype).ravel()
        else:
            outputs[one["name"]] = np.frombuffer(body[at : at + size], datatype)
            at += size
    return outputs


def post_with_headers(port: int, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
    """Send one POST request; return body and headers. Raises BenchError for any status but 200."""
    connection = HTTPConnection(LOCAL, port, timeout=10.0)
    try:
        connection.request("POST", path, body, dict(headers))
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise BenchError(f"{path} returned status {response.status}, expected 200: {answer[:300]!r}")
    return answer, dict(response.headers)


def post(port: int, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Send one POST request; return the body. Raises BenchError for any status but 200."""
    return post_with_headers(port, path, body, headers)[0]


def infer_over_http(port: int, path: str, body: bytes, headers: Mapping[str, str]) -> Outputs:
    """One inference over HTTP; returns flat tensors by output name. Raises BenchError."""
    answer, returned = post_with_headers(port, path, body, headers)
    length = returned.get(HEADER_LENGTH) or returned.get(HEADER_LENGTH.lower())
    return read_http(answer, int(length) if length else None)


def infer_over_grpc(port: int, request: bytes) -> Outputs:
    """One ModelInfer over gRPC; returns flat tensors by output name. Raises BenchError for any status but OK."""
    with grpc.insecure_channel(f"{LOCAL}:{port}") as channel:
        try:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(MODEL_INFER)
            return read_grpc(call(request, timeout=10.0))
        except grpc.RpcError as error:
            raise BenchError(f"ModelInfer failed: {error}") from error
