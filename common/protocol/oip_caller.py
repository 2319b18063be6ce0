"""The client side of the Open Inference Protocol with binary tensors: encodes requests and decodes responses.

Two services exchange the same names, datatypes and shapes again and again, so the JSON headers repeat. Both directions
cache them: a header that is in the cache is neither encoded nor parsed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import orjson

from common.errors import InvalidInput, UpstreamFailed
from common.protocol.oip import InferResponseJson
from common.protocol.tensors import Array, datatype_of, from_binary, from_json, to_binary

_MAX_CACHED = 256  # headers in each cache
_MAX_CACHED_BYTES = 2048  # of one response header

_response = msgspec.json.Decoder(InferResponseJson)


class _TensorPosition(NamedTuple):
    """The position of a tensor in the body of a response."""

    name: str
    dtype: np.dtype[Any]
    start: int
    shape: tuple[int, ...]


class _Layout(NamedTuple):
    """The decoded header of a response, and the positions of its tensors in a body of `size` bytes."""

    response: InferResponseJson
    size: int
    positions: list[_TensorPosition]


_headers: dict[tuple[Any, ...], bytes] = {}
_layouts: dict[bytes, _Layout] = {}


def encode_request(
    inputs: Mapping[str, Array],
    outputs: Sequence[str] = (),
    id: str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> tuple[bytes, int]:
    """A request body with all tensors as binary data, and the length of its JSON header."""
    parts = [to_binary(array) for array in inputs.values()]
    if id is not None or parameters:
        header = _header(inputs, parts, outputs, id, parameters or {})
    else:
        sizes = map(len, parts)
        tensors = [(name, array.dtype.char, array.shape, next(sizes)) for name, array in inputs.items()]
        key = (*outputs, *tensors)
        header = _headers.get(key, b"")
        if not header:
            _clear_when_full(_headers)
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


def has_only_numbers(body: bytes, header_length: int | None) -> bool:
    """Whether a response has no text and no values in JSON, so that its decoding takes next to no time."""
    return header_length is not None and header_length <= _MAX_CACHED_BYTES and b'"BYTES"' not in body[:header_length]


def decode_response(body: bytes, header_length: int | None) -> tuple[InferResponseJson, dict[str, Array]]:
    """A predictor's response and its outputs by name. Raises UpstreamFailed when the response is not valid."""
    header = body[:header_length] if header_length is not None and header_length <= _MAX_CACHED_BYTES else b""
    layout = _layouts.get(header) if header else None
    try:
        if layout is not None and layout.size == len(body):
            return layout.response, {position.name: _array_at(position, body) for position in layout.positions}
        return _decoded(body, len(body) if header_length is None else header_length, header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, InvalidInput, TypeError) as error:
        raise UpstreamFailed(f"the predictor's response is not a valid inference response: {error}") from None


def _decoded(body: bytes, at: int, header: bytes) -> tuple[InferResponseJson, dict[str, Array]]:
    """Decodes a response whose header is not cached; caches its layout when all its tensors are binary numbers."""
    view = memoryview(body)
    response = _response.decode(view[:at])
    arrays: dict[str, Array] = {}
    positions: list[_TensorPosition] = []
    for index, tensor in enumerate(response.outputs):
        where, size = f"outputs[{index}]", tensor.parameters.get("binary_data_size")
        if size is None:
            array = from_json(tensor.data or b"[]", tensor.datatype, tensor.shape, where)
        else:
            array = from_binary(view[at : at + size], tensor.datatype, tensor.shape, where)
            if array.dtype.kind in "iuf":
                positions.append(_TensorPosition(tensor.name, array.dtype, at, array.shape))
            at += size
        arrays[tensor.name] = array
    if header and at == len(body) and len(positions) == len(response.outputs) == len(arrays):
        _clear_when_full(_layouts)
        _layouts[header] = _Layout(response, at, positions)
    return response, arrays


def _array_at(position: _TensorPosition, body: bytes) -> Array:
    array: Array = np.ndarray(position.shape, position.dtype, body, position.start)
    return array


def _clear_when_full(cache: dict[Any, Any]) -> None:
    """Empties a full cache, which is simpler than evicting one entry; headers in use are soon cached again."""
    if len(cache) >= _MAX_CACHED:
        cache.clear()
