"""Cuts a long JSON list of numbers into shorter lists.

A thread that decodes a list of megabytes keeps all other threads waiting until it is done, the event loop among them.
Between two pieces they get their turn, and only one piece at a time takes the memory of Python objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Raw

from common.errors import InvalidInput

PIECE = 131_072  # bytes of JSON: about a millisecond
MAX_DEPTH = 16  # of lists in lists; `decode` refuses more, and each level would cost a search of the whole text
_PREFIX = 1024  # bytes in which the depth of the nesting is counted; deep indentation fits as well
_COMMA, _OPEN, _CLOSE = b",[]"
_Array = npt.NDArray[Any]
Decode = Callable[[bytes], _Array]


def nesting_depth(text: bytes | memoryview | Raw) -> int:
    """The number of brackets that open the JSON text of a list."""
    start = bytes(memoryview(text)[:_PREFIX]).translate(None, b" \t\r\n")
    return len(start) - len(start.lstrip(b"["))


def decode_in_pieces(text: bytes, decode: Decode, where: str) -> _Array:
    """The array of a list in valid JSON, cut between its elements, and within an element where one alone is long.

    `decode` gives the array of a list. Raises InvalidInput for elements of different lengths, and the errors of
    `decode`, which name an element of the list at `where`.
    """
    if len(text) <= 2 * PIECE or nesting_depth(text) > MAX_DEPTH:
        return decode(text)
    pieces = _pieces(text)
    if not pieces:
        inner = text.strip()[1:-1].strip()
        nested = inner.startswith(b"[") and inner.endswith(b"]")
        return decode_in_pieces(inner, decode, where)[np.newaxis] if nested else decode(text)
    arrays: list[_Array] = []
    for piece in pieces:
        try:
            arrays.append(decode_in_pieces(piece, decode, where))
        except InvalidInput as error:
            raise _moved(error, where, sum(map(len, arrays))) from None
    if len({array.shape[1:] for array in arrays}) != 1:
        raise InvalidInput.at(where, "expected rows of equal length")
    return np.concatenate(arrays)


def _pieces(text: bytes) -> list[bytes]:
    """Lists that are cut out of a list; none when it has one element, or is no list of numbers."""
    letters = np.frombuffer(text, np.uint8)
    depth = np.cumsum((letters == _OPEN).astype(np.int8) - (letters == _CLOSE).astype(np.int8), dtype=np.int32)
    commas = np.flatnonzero((letters == _COMMA) & (depth == 1))
    if not len(commas) or depth[-1] or b'"' in text or b"[" not in text:
        return []
    first, last = text.index(b"["), text.rindex(b"]")
    places = np.searchsorted(commas, np.arange(first + PIECE, last, PIECE))
    cuts = np.unique(commas[places.clip(max=len(commas) - 1)]).tolist()
    ends = [first, *cuts, last]
    return [b"[%b]" % text[start + 1 : end] for start, end in pairwise(ends)]


def _moved(error: InvalidInput, where: str, by: int) -> InvalidInput:
    """The error with the index of the element in the whole list."""
    (field,) = error.fields
    found = re.match(rf"{re.escape(where)}\[(\d+)\](.*)", field.field)
    return InvalidInput.at(f"{where}[{int(found[1]) + by}]{found[2]}", field.reason) if found else error
