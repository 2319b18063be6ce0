"""Counts the fields of a large protobuf message before it is parsed.

Parsing makes an object of every tensor and of every value that is not packed, and two bytes are enough for one. So
their number is bounded. A field of bytes counts as one, however long it is.
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor

from common.errors import InvalidInput

MOST_FIELDS = 500_000
_DEEPEST = 16  # messages within messages; those of the protocols are less deep
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def check_outline(message: bytes, kind: Descriptor) -> None:
    """Raises InvalidInput for a message of this kind with more than MOST_FIELDS fields."""
    _count(memoryview(message), kind, MOST_FIELDS, _DEEPEST)


def _count(message: memoryview, kind: Descriptor, left: int, levels: int) -> int:
    """The number of fields that may still follow. What does not read as a message is left to the parser."""
    at, end = 0, len(message)
    try:
        while at < end:
            left -= 1
            if left < 0:
                raise InvalidInput(f"the message has too many fields; expected at most {MOST_FIELDS}")
            tag, at = _varint(message, at)
            wire = tag & 7
            if wire == _LENGTH:
                size, at = _varint(message, at)
                field = kind.fields_by_number.get(tag >> 3)
                if levels and field is not None and field.message_type is not None:
                    left = _count(message[at : at + size], field.message_type, left, levels - 1)
                at += size
            elif wire == _VARINT:
                _, at = _varint(message, at)
            elif wire in (_FIXED64, _FIXED32):
                at += 8 if wire == _FIXED64 else 4
            else:
                return left
    except IndexError:
        return left
    return left


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number, and where it ends. Raises IndexError."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 or shift > 63:
            return value, at
        shift += 7
