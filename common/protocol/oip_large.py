"""Decodes a large request of the Open Inference Protocol, which may be hostile.

Its tensors are decoded last, when all that it states of them has been compared with the model. Everything that is not a
tensor's data is small in a request that means well, so it is bounded before it becomes Python objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from common.errors import InvalidInput
from common.protocol import oip
from common.protocol.json_body import Payload, decode_json
from common.protocol.stated import StatedTensor, check_rows, check_stated, check_text_size
from common.protocol.tensors import TensorSpec

MOST_PARAMETERS = 65_536  # bytes of JSON in parameters, shapes, names and requested outputs
_NONE = msgspec.Raw(b"null")


class _Tensor(msgspec.Struct):
    """An input whose parts are not decoded yet."""

    name: msgspec.Raw
    shape: msgspec.Raw
    datatype: msgspec.Raw
    parameters: msgspec.Raw = _NONE
    data: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class _Outline(msgspec.Struct):
    """A request whose parts are not decoded yet."""

    inputs: msgspec.Raw
    id: msgspec.Raw = _NONE
    parameters: msgspec.Raw = _NONE
    outputs: msgspec.Raw = _NONE


_outline = msgspec.json.Decoder(_Outline)
_tensors = msgspec.json.Decoder(list[_Tensor])
_request = msgspec.json.Decoder(oip.InferRequestJson)


def decode_large(
    body: Payload, header_length: str | None, specs: Sequence[TensorSpec], most_rows: int
) -> oip.DecodedRequest:
    """Decodes a request, with binary tensors behind a JSON header if `header_length` states one.

    Raises InvalidInput that names the field, and PayloadTooLarge for more than `most_rows` rows.
    """
    view = memoryview(body)
    length = len(body) if header_length is None else oip.parse_header_length(header_length, len(body))
    if length == 0 and header_length is not None:
        decoded = oip.decode_binary(body, header_length, specs)
        check_rows(decoded.inputs[specs[0].name].shape, specs[0], most_rows, "inputs[0]")
        return decoded
    request = decode_json(_request, view[:length]) if length <= MOST_PARAMETERS else _bounded(view[:length])
    stated = [StatedTensor(one.name, one.datatype, one.shape) for one in request.inputs]
    check_stated(stated, specs, most_rows)
    for index, (tensor, one) in enumerate(zip(request.inputs, stated, strict=True)):
        _check_size(tensor, one, f"inputs[{index}]")
    return oip.decoded_request(request, view[length:], specs)


def _check_size(tensor: oip.InputTensor, stated: StatedTensor, where: str) -> None:
    """Raises InvalidInput for data that cannot have the values that the shape states."""
    size = (tensor.parameters or {}).get("binary_data_size")
    if tensor.data:
        check_text_size(memoryview(tensor.data), stated, where)
    elif stated.datatype == "BYTES" and isinstance(size, int) and size < 4 * math.prod(stated.shape):
        raise InvalidInput.at(
            f"{where}.parameters.binary_data_size",
            f"expected at least 4 bytes for each of {math.prod(stated.shape)} BYTES elements, got {size}",
        )


def _bounded(text: memoryview) -> oip.InferRequestJson:
    """A request whose JSON is large. Raises InvalidInput when more than its data is large.

    It is put together from its parts, since a part that the JSON has twice counts once, and is decoded once.
    """
    outline = decode_json(_outline, text)
    tensors = decode_json(_tensors, outline.inputs, "inputs")
    left = MOST_PARAMETERS - _size(outline.id, outline.parameters, outline.outputs)
    if left < 0:
        raise InvalidInput.at("parameters", f"expected at most {MOST_PARAMETERS} bytes in all that is not data")
    for index, one in enumerate(tensors):
        left -= _size(one.name, one.shape, one.datatype, one.parameters)
        if left < 0:
            raise InvalidInput.at(
                f"inputs[{index}]", f"expected at most {MOST_PARAMETERS} bytes in all that is not data, got more"
            )
    parts = {"id": outline.id, "parameters": outline.parameters, "outputs": outline.outputs}
    small = {name: part for name, part in parts.items() if part != _NONE}
    request = decode_json(_request, msgspec.json.encode({"inputs": [_without_data(one) for one in tensors], **small}))
    for tensor, one in zip(request.inputs, tensors, strict=True):
        tensor.data = one.data
    return request


def _size(*parts: msgspec.Raw) -> int:
    return sum(len(memoryview(part)) for part in parts)


def _without_data(tensor: _Tensor) -> dict[str, msgspec.Raw]:
    parts = {"name": tensor.name, "shape": tensor.shape, "datatype": tensor.datatype}
    return parts if tensor.parameters == _NONE else {**parts, "parameters": tensor.parameters}
