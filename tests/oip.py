"""The Open Inference Protocol by its specification, apart from the product's code: requests from numpy, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np

from common.protocol.grpc import oip_pb2 as pb
from tests.rows import Array

HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPES = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32", "uint8": "UINT8", "bool": "BOOL"}
DTYPES: dict[str, Any] = {datatype: np.dtype(name) for name, datatype in DATATYPES.items()} | {"BYTES": object}


def texts(*elements: str | bytes) -> Array:
    """A BYTES tensor of one dimension."""
    array = np.empty(len(elements), object)
    array[:] = [one.encode() if isinstance(one, str) else one for one in elements]
    return array


def described(name: str, array: Array) -> dict[str, Any]:
    datatype = "BYTES" if array.dtype == object else DATATYPES[array.dtype.name]
    return {"name": name, "datatype": datatype, "shape": list(array.shape)}


def fits_json(inputs: Mapping[str, Array]) -> bool:
    """Whether every element can stand in JSON: a picture in a BYTES tensor cannot."""
    try:
        json_inputs(inputs)
    except UnicodeDecodeError:
        return False
    return True


def json_inputs(inputs: Mapping[str, Array]) -> dict[str, Any]:
    """The JSON body of an infer request."""
    flat = {name: array.reshape(-1).tolist() for name, array in inputs.items()}
    data = {name: [one.decode() if isinstance(one, bytes) else one for one in values] for name, values in flat.items()}
    return {"inputs": [described(name, array) | {"data": data[name]} for name, array in inputs.items()]}


def raw(array: Array) -> bytes:
    """The elements as they stand in binary requests: little-endian numbers, BYTES behind their lengths."""
    if array.dtype == object:
        return b"".join(len(one).to_bytes(4, "little") + one for one in array.reshape(-1))
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def binary_inputs(inputs: Mapping[str, Array]) -> tuple[bytes, int]:
    """The body of an infer request with binary tensors that asks for binary outputs, and the length of its JSON."""
    parts = {name: raw(array) for name, array in inputs.items()}
    tensors = [
        described(name, array) | {"parameters": {"binary_data_size": len(parts[name])}}
        for name, array in inputs.items()
    ]
    header = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    return header + b"".join(parts.values()), len(header)


def from_json(response: httpx.Response) -> dict[str, Array]:
    """The outputs of a JSON response."""
    assert response.status_code == 200, response.text
    outputs = response.json()["outputs"]
    return {one["name"]: np.array(one["data"], DTYPES[one["datatype"]]).reshape(one["shape"]) for one in outputs}


def from_binary(response: httpx.Response) -> dict[str, Array]:
    """The outputs of a response all of whose tensors are binary."""
    assert response.status_code == 200, response.text
    size = int(response.headers[HEADER_LENGTH])
    told, data = json.loads(response.content[:size])["outputs"], response.content[size:]
    found = {}
    for one in told:
        length = one["parameters"]["binary_data_size"]
        found[one["name"]] = decoded(data[:length], one["datatype"], one["shape"])
        data = data[length:]
    assert data == b""
    return found


def from_grpc(response: pb.ModelInferResponse) -> dict[str, Array]:
    """The outputs of a gRPC response, which carries raw contents."""
    pairs = zip(response.outputs, response.raw_output_contents, strict=True)
    return {one.name: decoded(data, one.datatype, one.shape) for one, data in pairs}


def decoded(data: bytes, datatype: str, shape: Any) -> Array:
    if datatype != "BYTES":
        return np.frombuffer(data, DTYPES[datatype]).reshape(tuple(shape))
    found = []
    while data:
        size = int.from_bytes(data[:4], "little")
        found.append(data[4 : 4 + size].decode())
        data = data[4 + size :]
    array = np.empty(len(found), object)
    array[:] = found
    return array.reshape(tuple(shape))


def grpc_request(model: str, inputs: Mapping[str, Array], **rest: Any) -> pb.ModelInferRequest:
    """An infer request with raw contents."""
    tensors = [described(name, array) for name, array in inputs.items()]
    return pb.ModelInferRequest(
        model_name=model, inputs=tensors, raw_input_contents=[raw(array) for array in inputs.values()], **rest
    )
