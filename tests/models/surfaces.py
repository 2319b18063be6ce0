"""Sends the same request over each surface, and reads the outputs back; written apart from the product's code."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import httpx
import numpy as np

from common.protocol.grpc import oip_pb2 as oip
from common.protocol.grpc import tfserving_pb2 as tf
from common.protocol.grpc import tfserving_tensor_pb2 as tensor_pb
from tests.models.case import DTYPES, Array, Case, Inputs, values
from tests.models.hosted import Hosted

NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
HEADER = "Inference-Header-Content-Length"


class Refused(Exception):
    """The server refused the request as wrong (400, INVALID_ARGUMENT)."""


def datatype(array: Array) -> str:
    return NAMES[array.dtype]


def encoded(one: str | bytes) -> bytes:
    return one.encode() if isinstance(one, str) else one


def raw(array: Array) -> bytes:
    if array.dtype != object:
        return array.tobytes()
    return b"".join(len(encoded(one)).to_bytes(4, "little") + encoded(one) for one in array.reshape(-1))


def unraw(data: bytes, kind: str, shape: Any) -> Array:
    if kind != "BYTES":
        return np.frombuffer(data, DTYPES[kind]).reshape(tuple(shape))
    found = []
    while data:
        size = int.from_bytes(data[:4], "little")
        found.append(data[4 : 4 + size].decode())
        data = data[4 + size :]
    return values("BYTES", *found).reshape(tuple(shape))


def plain(array: Array) -> list[Any]:
    """Flat values for JSON: NaN is null; infinity has no form, so it stays and the encoder refuses it."""
    return [None if one != one else one for one in array.reshape(-1).tolist()]


def body_of(response: httpx.Response) -> Any:
    if response.status_code == 400:
        raise Refused(response.text)
    assert response.status_code == 200, response.text
    return response


def called(call: Callable[..., Any], request: Any) -> Any:
    try:
        return call(request, timeout=20)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            raise Refused(error.details()) from None
        raise


def rest_json(hosted: Hosted, name: str, inputs: Inputs) -> Inputs:
    tensors = [
        {"name": key, "shape": list(array.shape), "datatype": datatype(array), "data": plain(array), "parameters": None}
        for key, array in inputs.items()
    ]
    content = json.dumps({"inputs": tensors, "parameters": None}, allow_nan=False)
    response = body_of(hosted.http.post(f"/v2/models/{name}/infer", content=content))
    return {
        one["name"]: values(one["datatype"], *one["data"]).reshape(one["shape"]) for one in response.json()["outputs"]
    }


def rest_binary(hosted: Hosted, name: str, inputs: Inputs) -> Inputs:
    parts = [raw(array) for array in inputs.values()]
    tensors = [
        {"name": key, "shape": list(array.shape), "datatype": datatype(array),
         "parameters": {"binary_data_size": len(part)}}
        for (key, array), part in zip(inputs.items(), parts, strict=True)
    ]  # fmt: skip
    header = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    headers = {HEADER: str(len(header)), "Content-Type": "application/octet-stream"}
    path = f"/v2/models/{name}/infer"
    response = body_of(hosted.http.post(path, content=b"".join([header, *parts]), headers=headers))
    size = int(response.headers[HEADER])
    data, found = response.content[size:], {}
    for one in json.loads(response.content[:size])["outputs"]:
        length = one["parameters"]["binary_data_size"]
        found[one["name"]], data = unraw(data[:length], one["datatype"], one["shape"]), data[length:]
    return found


def grpc_raw(hosted: Hosted, name: str, inputs: Inputs) -> Inputs:
    return _grpc(hosted, name, inputs, [None] * len(inputs), [raw(array) for array in inputs.values()])


_CONTENTS = {
    "b": "bool_contents", "f4": "fp32_contents", "f8": "fp64_contents", "i8": "int64_contents", "u8": "uint64_contents",
    "i": "int_contents", "u": "uint_contents", "O": "bytes_contents",
}  # fmt: skip


def grpc_typed(hosted: Hosted, name: str, inputs: Inputs) -> Inputs:
    contents = []
    for array in inputs.values():
        exact, kind = f"{array.dtype.kind}{array.dtype.itemsize}", array.dtype.kind
        flat = array.reshape(-1).tolist()
        numbers: Any = [encoded(one) for one in flat] if kind == "O" else flat
        field = _CONTENTS.get(exact) or _CONTENTS.get(kind) or "fp32_contents"  # FP16 has no field of its own
        fields: dict[str, Any] = {field: numbers}
        contents.append(oip.InferTensorContents(**fields))
    return _grpc(hosted, name, inputs, contents, [])


def _grpc(hosted: Hosted, name: str, inputs: Inputs, contents: list[Any], raw_contents: list[bytes]) -> Inputs:
    tensor = oip.ModelInferRequest.InferInputTensor
    tensors = [
        tensor(name=key, datatype=datatype(array), shape=array.shape, contents=typed)
        for (key, array), typed in zip(inputs.items(), contents, strict=True)
    ]
    request = oip.ModelInferRequest(model_name=name, inputs=tensors, raw_input_contents=raw_contents)
    response = called(hosted.oip.ModelInfer, request)
    pairs = zip(response.outputs, response.raw_output_contents, strict=True)
    return {one.name: unraw(data, one.datatype, one.shape) for one, data in pairs}


def nested(array: Array) -> Any:
    """Nested lists for TensorFlow Serving's JSON, where the nesting expresses the shape."""
    return np.array(plain(array) or [0], object)[: array.size].reshape(array.shape).tolist()


def tf_rest(hosted: Hosted, name: str, inputs: Inputs) -> Inputs:
    content = json.dumps({"inputs": {key: nested(array) for key, array in inputs.items()}}, allow_nan=False)
    found = body_of(hosted.http.post(f"/v1/models/{name}:predict", content=content)).json()["outputs"]
    signature = hosted.http.get(f"/v2/models/{name}").json()["outputs"]
    listed = {one["name"]: found[one["name"]] if len(signature) > 1 else found for one in signature}
    return {one["name"]: _from_nested(listed[one["name"]], one) for one in signature}


def _from_nested(value: Any, output: Mapping[str, Any]) -> Array:
    if output["datatype"] == "BYTES":
        return np.array(value, object)
    return np.array(value, DTYPES[output["datatype"]])


_TF_TYPES: dict[str, tuple[str, str]] = {
    "FP32": ("DT_FLOAT", "float_val"), "FP64": ("DT_DOUBLE", "double_val"), "FP16": ("DT_HALF", "half_val"),
    "INT8": ("DT_INT8", "int_val"), "INT16": ("DT_INT16", "int_val"), "INT32": ("DT_INT32", "int_val"),
    "INT64": ("DT_INT64", "int64_val"), "UINT8": ("DT_UINT8", "int_val"), "UINT16": ("DT_UINT16", "int_val"),
    "UINT32": ("DT_UINT32", "uint32_val"), "UINT64": ("DT_UINT64", "uint64_val"), "BOOL": ("DT_BOOL", "bool_val"),
    "BYTES": ("DT_STRING", "string_val"),
}  # fmt: skip


def tf_grpc(hosted: Hosted, name: str, inputs: Inputs) -> Inputs:
    request = tf.PredictRequest(model_spec={"name": name})
    for key, array in inputs.items():
        kind, field = _TF_TYPES[datatype(array)]
        flat = (array.view(np.uint16) if array.dtype == np.float16 else array).reshape(-1).tolist()
        numbers: Any = [encoded(one) for one in flat] if array.dtype == object else flat
        shape = tensor_pb.TensorShapeProto(dim=[tensor_pb.TensorShapeProto.Dim(size=size) for size in array.shape])
        fields: dict[str, Any] = {"dtype": kind, "tensor_shape": shape, field: numbers}
        tensor = tensor_pb.TensorProto(**fields)
        request.inputs[key].CopyFrom(tensor)
    response = called(hosted.tfserving.Predict, request)
    return {key: _from_proto(tensor) for key, tensor in response.outputs.items()}


def _from_proto(tensor: Any) -> Array:
    (kind, field) = next(
        (kind, field) for kind, (name, field) in _TF_TYPES.items() if tensor.dtype == tensor_pb.DataType.Value(name)
    )
    shape, numbers = tuple(one.size for one in tensor.tensor_shape.dim), list(getattr(tensor, field))
    if kind == "BYTES":
        return values("BYTES", *(one.decode() for one in numbers)).reshape(shape)
    if kind == "FP16":
        return np.array(numbers, np.uint16).view(np.float16).reshape(shape)
    return np.array(numbers, DTYPES[kind]).reshape(shape)


def predicted(hosted: Hosted, case: Case) -> list[dict[str, Any]]:
    """The predictions of /predict for the rows of a case."""
    content = json.dumps({"instances": case.rows})
    found: list[dict[str, Any]] = body_of(hosted.http.post(f"/predict/{case.name}", content=content)).json()[
        "predictions"
    ]
    return found


def examples(hosted: Hosted, case: Case, method: str) -> list[Any]:
    """The results of :classify or :regress for the rows of one corpus case."""
    rows = [
        {name: {"b64": base64.b64encode(one).decode()} if isinstance(one, bytes) else one for name, one in row.items()}
        for row in case.rows
    ]
    response = body_of(hosted.http.post(f"/v1/models/{case.name}:{method}", content=json.dumps({"examples": rows})))
    found: list[Any] = response.json()["results"]
    return found


SURFACES: dict[str, Callable[[Hosted, str, Inputs], Inputs]] = {
    "REST JSON": rest_json, "REST binary": rest_binary, "gRPC raw": grpc_raw, "gRPC typed": grpc_typed,
    "TF REST": tf_rest, "TF gRPC": tf_grpc,
}  # fmt: skip
JSON = ("REST JSON", "TF REST")
