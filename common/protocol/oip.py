"""Open Inference Protocol v2 over REST: JSON bodies, and the binary tensor data extension.

Specification: https://github.com/kserve/open-inference-protocol; for the extension, the `binary_tensor_data` page
of NVIDIA Triton's protocol documents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import orjson

from common.errors import InvalidInput
from common.protocol.json_body import Payload, decode_json
from common.protocol.oip_parameters import check_input_parameters, check_output_parameters, check_request_parameters
from common.protocol.stated import input_names
from common.protocol.tensors import Array, TensorSpec, datatype_of, from_binary, from_json, to_binary
from common.protocol.values import check_json_numbers

HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY = "application/octet-stream"
JSON = "application/json"
EXTENSIONS = ["binary_tensor_data"]
PLATFORM = "onnx_onnxv1"
BINARY_DATA = "parameters.binary_data"


Data = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "array"})]


class InputTensor(msgspec.Struct):
    """One input: `data` is flat or nested in row-major order, or absent when it follows as binary."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Data = msgspec.field(default_factory=msgspec.Raw)  # a plain default has no form in the OpenAPI document


class RequestedOutput(msgspec.Struct):
    """An output that the caller wants; `parameters.binary_data` states whether as binary data."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequestJson(msgspec.Struct):
    """The body of POST /v2/models/{model}/infer."""

    inputs: list[InputTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[RequestedOutput] | None = None


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """One output; `data` is flat, or absent when it follows as binary."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Data = msgspec.field(default_factory=msgspec.Raw)  # a plain default has no form in the OpenAPI document


class InferResponseJson(msgspec.Struct, omit_defaults=True):
    """The body of the response to an infer request."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | None = None
    parameters: dict[str, Any] = {}


class DecodedRequest(msgspec.Struct):
    """A decoded request: arrays by input name, and how the caller wants the outputs."""

    inputs: dict[str, Array]
    id: str | None = None
    outputs: Sequence[RequestedOutput] = ()
    all_binary: bool = False
    parameters: dict[str, Any] = {}

    def binary(self, output: str) -> bool:
        """Whether to send this output as binary data. Its own `binary_data` overrides the request's."""
        for wanted in self.outputs:
            if wanted.name == output:
                return bool((wanted.parameters or {}).get("binary_data", self.all_binary))
        return self.all_binary


_request = msgspec.json.Decoder(InferRequestJson)


def decode_request(body: Payload, inputs: Sequence[TensorSpec]) -> DecodedRequest:
    """Decodes a request without binary tensors. Raises InvalidInput that names the field."""
    return decoded_request(decode_json(_request, body), memoryview(b""), inputs)


def decode_binary(body: Payload, header_length: str, inputs: Sequence[TensorSpec]) -> DecodedRequest:
    """Decodes a request whose binary tensors follow a JSON header of `header_length` bytes.

    The arrays are views of `body`. Raises InvalidInput that names the field.
    """
    length = parse_header_length(header_length, len(body))
    if length == 0:
        return _raw(body, inputs)
    view = memoryview(body)
    return decoded_request(decode_json(_request, body[:length]), view[length:], inputs)


def parse_header_length(text: str, size: int) -> int:
    """The number of bytes of the JSON header. Raises InvalidInput for one that the body does not have."""
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise InvalidInput.at(HEADER_LENGTH, f"expected a number of bytes, got {text[:40]!r}")
    length = int(text)
    if length > size:
        raise InvalidInput.at(HEADER_LENGTH, f"states {length} bytes, but the body has {size}")
    return length


def decoded_request(request: InferRequestJson, binary: memoryview, specs: Sequence[TensorSpec]) -> DecodedRequest:
    """Decodes the tensors of a request; `binary` has those that follow the JSON. Raises InvalidInput."""
    _check_parameters(request)
    arrays: dict[str, Array] = {}
    at = 0
    for index, tensor in enumerate(request.inputs):
        where = f"inputs[{index}]"
        size = tensor.parameters.get("binary_data_size") if tensor.parameters else None
        if size is None:
            if not tensor.data:
                raise InvalidInput.at(where, "expected data or parameters.binary_data_size, got neither")
            array = from_json(tensor.data, tensor.datatype, tensor.shape, where, _may_miss(tensor.name, specs))
        else:
            _check_binary(tensor, size, len(binary) - at, where)
            array = from_binary(binary[at : at + size], tensor.datatype, tensor.shape, where)
            at += size
        if tensor.name in arrays:
            raise InvalidInput.at(f"{where}.name", f"expected each input once, got {tensor.name!r} twice")
        arrays[tensor.name] = array
    if at != len(binary):
        raise InvalidInput.at("body", f"expected {at} bytes of binary tensors after the JSON header, got {len(binary)}")
    check_inputs(arrays, specs)
    parameters = request.parameters or {}
    wanted = parameters.get("binary_data_output", False)
    return DecodedRequest(arrays, request.id, request.outputs or (), wanted is True, parameters)


def _may_miss(name: str, specs: Sequence[TensorSpec]) -> bool:
    """Whether numbers of this input may be missing, which JSON writes as null."""
    return any(spec.missing and spec.name == name for spec in specs)


def _check_parameters(request: InferRequestJson) -> None:
    if request.parameters:
        check_request_parameters(request.parameters)
    for index, tensor in enumerate(request.inputs):
        if tensor.parameters:
            check_input_parameters(tensor.parameters, f"inputs[{index}]")
    for index, output in enumerate(request.outputs or ()):
        if output.parameters:
            check_output_parameters(output.parameters, f"outputs[{index}]")


def _check_binary(tensor: InputTensor, size: Any, left: int, where: str) -> None:
    if tensor.data:
        raise InvalidInput.at(where, "expected either data or parameters.binary_data_size, got both")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidInput.at(f"{where}.parameters.binary_data_size", f"expected a number of bytes, got {size!r}")
    if size > left:
        raise InvalidInput.at(
            f"{where}.parameters.binary_data_size", f"states {size} bytes, but the body has only {left} more"
        )


def _raw(body: Payload, specs: Sequence[TensorSpec]) -> DecodedRequest:
    if len(specs) != 1:
        raise InvalidInput.at(HEADER_LENGTH, f"0 is allowed for a model with one input; this one has {len(specs)}")
    (spec,) = specs
    if spec.datatype == "BYTES":
        shape = [1 if size == -1 else size for size in spec.shape]
        if math.prod(shape) != 1:
            raise InvalidInput.at(
                HEADER_LENGTH, f"0 is allowed for an input of one BYTES element; this one has shape {list(spec.shape)}"
            )
        return DecodedRequest({spec.name: np.array([bytes(body)], dtype=object).reshape(shape)}, all_binary=True)
    if spec.any_rank:
        raise InvalidInput.at(HEADER_LENGTH, "0 is allowed for an input of a known shape; this one's rank is free")
    free = spec.shape.count(-1)
    row = int(np.prod([size for size in spec.shape if size != -1])) * spec.dtype.itemsize
    if free > 1 or not body or not row or len(body) % row or (not free and len(body) != row):
        raise InvalidInput.at("body", f"expected a multiple of {row} bytes for {list(spec.shape)}, got {len(body)}")
    shape = [len(body) // row if size == -1 else size for size in spec.shape]
    array = from_binary(body, spec.datatype, shape, "inputs[0]")
    spec.check(array, "inputs[0]")
    return DecodedRequest({spec.name: array}, all_binary=True)


def check_inputs(arrays: Mapping[str, Array], specs: Sequence[TensorSpec], named: str = "") -> None:
    """Raises InvalidInput unless `arrays` has exactly the inputs of the model, each with its datatype and shape.

    `named` is how an error names the input of a protocol that has inputs by name, such as `inputs.%s`.
    """
    rows: int | None = None
    given = len(specs)
    positions = {name: index for index, name in enumerate(arrays)}  # in the request's order
    for spec in specs:
        array = arrays.get(spec.name)
        if array is None:
            if spec.optional:
                given -= 1
                continue
            raise InvalidInput.at("inputs", f"expected {input_names(specs)}, got {sorted(arrays)}")
        where = named % spec.name if named else f"inputs[{positions[spec.name]}]"
        spec.check(array, where)
        if len(specs) > 1 and spec.aligned and spec.shape[:1] == (-1,) and not spec.any_rank:
            if rows is not None and array.shape[0] != rows:
                raise InvalidInput.at(
                    f"{where}.shape", f"expected {rows} rows like the other inputs, got {array.shape[0]}"
                )
            rows = array.shape[0]
    if len(arrays) != given:
        raise InvalidInput.at("inputs", f"expected {input_names(specs)}, got {sorted(arrays)}")


def encode_response(
    decoded: DecodedRequest,
    model: str,
    version: str,
    outputs: Mapping[str, Array],
    parameters: Mapping[str, Any] | None = None,
) -> tuple[bytes, int | None]:
    """The body of the response to `decoded`, and the length of its JSON header; None when no binary data follow it.

    Raises InvalidInput for what JSON cannot carry: FP16, NaN and infinity.
    """
    parts: list[bytes] = []
    if decoded.outputs or decoded.all_binary:
        described = [_describe(decoded, name, array, parts) for name, array in outputs.items()]
    else:
        described = [_with_data(name, array) for name, array in outputs.items()]
    response: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": described}
    if decoded.id is not None:
        response["id"] = decoded.id
    if parameters:
        response["parameters"] = parameters
    header = orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in header:  # orjson writes NaN and infinity as null; a string may contain "null", too
        _check_outputs(decoded, outputs)
    return (b"".join((header, *parts)), len(header)) if parts else (header, None)


def _describe(decoded: DecodedRequest, name: str, array: Array, parts: list[bytes]) -> dict[str, Any]:
    """The JSON description of an output. The bytes of a binary output are appended to `parts`."""
    if not decoded.binary(name):
        return _with_data(name, array)
    part = to_binary(array)
    parts.append(part)
    size = {"binary_data_size": len(part)}
    return {"name": name, "shape": array.shape, "datatype": datatype_of(array), "parameters": size}


def _with_data(name: str, array: Array) -> dict[str, Any]:
    """The JSON description of an output with its flat data. Raises InvalidInput for FP16, which has no JSON form."""
    datatype = datatype_of(array)
    data: Any = array.reshape(-1)
    if datatype == "BYTES":
        data = [one.decode(errors="replace") if isinstance(one, bytes) else one for one in data]
    elif datatype == "FP16":
        raise InvalidInput.at("outputs", f"{name!r} is FP16, which has no JSON form; request it with {BINARY_DATA}")
    return {"name": name, "shape": array.shape, "datatype": datatype, "data": data}


def _check_outputs(decoded: DecodedRequest, outputs: Mapping[str, Array]) -> None:
    for name, array in outputs.items():
        if not decoded.binary(name):
            check_json_numbers(array, name, f"request it with {BINARY_DATA}, or over gRPC")
