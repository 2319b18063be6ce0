"""The caller's side of the Open Inference Protocol with binary tensors: requests written, answers read.

Between two services the same shapes go to and fro, so the JSON in front of the tensors is nearly always one that has
been seen: it is written and read once, and remembered by what made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import orjson

from common.errors import InvalidInput, UpstreamFailed
from common.protocol.oip import InferResponseJson
from common.protocol.tensors import Array, check_finite, datatype_of, from_binary, from_json, to_binary

_MOST_KNOWN = 256  # headers that are remembered each way
_LONGEST_KNOWN = 2048  # bytes of one

_response = msgspec.json.Decoder(InferResponseJson)


class _Place(NamedTuple):
    """Where in an answer's body a tensor lies."""

    name: str
    dtype: np.dtype[Any]
    start: int
    shape: tuple[int, ...]


class _Layout(NamedTuple):
    """An answer's header as it was decoded, and where its tensors lie in a body of `size` bytes."""

    response: InferResponseJson
    size: int
    places: list[_Place]


_headers: dict[tuple[Any, ...], bytes] = {}
_layouts: dict[bytes, _Layout] = {}


def encode_request(
    inputs: Mapping[str, Array],
    outputs: Sequence[str] = (),
    id: str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> tuple[bytes, int]:
    """A request body with every tensor binary, and the length of its JSON header."""
    parts = [to_binary(array) for array in inputs.values()]
    if id is not None or parameters:
        header = _header(inputs, parts, outputs, id, parameters or {})
    else:
        sizes = map(len, parts)
        tensors = [(name, array.dtype.char, array.shape, next(sizes)) for name, array in inputs.items()]
        key = (*outputs, *tensors)
        header = _headers.get(key, b"")
        if not header:
            _bound(_headers)
            header = _headers[key] = _header(inputs, parts, outputs, None, {})
    return b"".join((header, *parts)), len(header)


def _header(
    inputs: Mapping[str, Array],
    parts: Sequence[bytes],
    outputs: Sequence[str],
    id: str | None,
    parameters: Mapping[str, Any],
) -> bytes:
    described = [
        {
            "name": name,
            "shape": array.shape,
            "datatype": datatype_of(array),
            "parameters": {"binary_data_size": len(part)},
        }
        for (name, array), part in zip(inputs.items(), parts, strict=True)
    ]
    request: dict[str, Any] = {"inputs": described, "parameters": {**parameters, "binary_data_output": True}}
    if outputs:
        request["outputs"] = [{"name": name} for name in outputs]
    if id is not None:
        request["id"] = id
    return orjson.dumps(request)


def decode_response(body: bytes, header_length: int | None) -> tuple[InferResponseJson, dict[str, Array]]:
    """A predictor's answer as it said it, and its outputs by name; UpstreamFailed where it is not a valid one."""
    header = body[:header_length] if header_length is not None and header_length <= _LONGEST_KNOWN else b""
    layout = _layouts.get(header) if header else None
    try:
        if layout is not None and layout.size == len(body):
            return layout.response, {place.name: _array_at(place, body) for place in layout.places}
        return _decoded(body, len(body) if header_length is None else header_length, header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidInput, TypeError) as error:
        raise UpstreamFailed(f"the predictor's answer is no valid inference response: {error}") from None


def _decoded(body: bytes, at: int, header: bytes) -> tuple[InferResponseJson, dict[str, Array]]:
    """The same by reading the header; where all tensors are plain binary ones, their places are remembered."""
    view = memoryview(body)
    response = _response.decode(view[:at])
    arrays: dict[str, Array] = {}
    places: list[_Place] = []
    for index, tensor in enumerate(response.outputs):
        where, size = f"outputs[{index}]", tensor.parameters.get("binary_data_size")
        if size is None:
            array = from_json(tensor.data or b"[]", tensor.datatype, tensor.shape, where)
        else:
            array = from_binary(view[at : at + size], tensor.datatype, tensor.shape, where)
            if array.dtype.kind in "iuf":
                places.append(_Place(tensor.name, array.dtype, at, array.shape))
            at += size
        arrays[tensor.name] = array
    if header and at == len(body) and len(places) == len(response.outputs) == len(arrays):
        _bound(_layouts)
        _layouts[header] = _Layout(response, at, places)
    return response, arrays


def _array_at(place: _Place, body: bytes) -> Array:
    array: Array = np.ndarray(place.shape, place.dtype, body, place.start)
    if place.dtype.kind == "f":
        check_finite(array, place.name)
    return array


def _bound(known: dict[Any, Any]) -> None:
    """Forgets everything rather than remember too much; shapes that come back are soon known again."""
    if len(known) >= _MOST_KNOWN:
        known.clear()
