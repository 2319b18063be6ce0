"""Counts the fields of a large protobuf message before it is parsed.

Parsing makes an object of every tensor and of every value that is not packed, and two bytes are enough for one. So
their number is bounded. A field of bytes counts as one, however long it is. Packed numbers of variable length may take
a byte in the message and eight when they are parsed; those of fixed length take the same in both.
"""

from __future__ import annotations

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from common.errors import InvalidInput

MOST_FIELDS = 500_000
_DEEPEST = 16  # messages within messages; those of the protocols are less deep
_OBJECT = 64  # bytes of a field that is an object
_FIXED = {
    FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE,
    FieldDescriptor.TYPE_FIXED32, FieldDescriptor.TYPE_FIXED64, FieldDescriptor.TYPE_SFIXED32,
    FieldDescriptor.TYPE_SFIXED64,
}  # fmt: skip
_WIDE = {FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_SINT64}
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def parsed_size(message: bytes, kind: Descriptor) -> int:
    """About the bytes that a message of this kind takes when it is parsed. Raises InvalidInput for too many fields."""
    outline = _FieldCount()
    outline.read(memoryview(message), kind, _DEEPEST)
    return len(message) + outline.fields * _OBJECT + outline.growth


class _FieldCount:
    """Counts fields, and by how many bytes packed numbers grow. What reads as no message is left to the parser."""

    def __init__(self) -> None:
        self.fields = self.growth = 0

    def read(self, message: memoryview, kind: Descriptor, levels: int) -> None:
        at, end = 0, len(message)
        try:
            while at < end:
                self.fields += 1
                if self.fields > MOST_FIELDS:
                    raise InvalidInput(f"the message has too many fields; expected at most {MOST_FIELDS}")
                tag, at = _varint(message, at)
                wire = tag & 7
                if wire == _LENGTH:
                    size, at = _varint(message, at)
                    self._within(message[at : at + size], kind.fields_by_number.get(tag >> 3), levels)
                    at += size
                elif wire == _VARINT:
                    _, at = _varint(message, at)
                elif wire in (_FIXED64, _FIXED32):
                    at += 8 if wire == _FIXED64 else 4
                else:
                    return
        except IndexError:
            return

    def _within(self, content: memoryview, field: FieldDescriptor | None, levels: int) -> None:
        if field is None:
            return
        if field.message_type is not None:
            if levels:
                self.read(content, field.message_type, levels - 1)
        elif field.type not in _FIXED:
            numbers = int(np.count_nonzero(np.frombuffer(content, np.int8) >= 0))  # each ends with such a byte
            width = 8 if field.type in _WIDE else 1 if field.type == FieldDescriptor.TYPE_BOOL else 4
            self.growth += numbers * width - len(content)


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
