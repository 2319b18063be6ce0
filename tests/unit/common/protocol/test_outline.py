"""The fields of a protobuf message are counted before the message is parsed."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidInput
from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc.outline import MOST_FIELDS, parsed_size

KIND: Any = pb.ModelInferRequest.DESCRIPTOR
Tensor = pb.ModelInferRequest.InferInputTensor


def test_bytes_count_as_one_field_whatever_is_in_them() -> None:
    message = pb.ModelInferRequest(raw_input_contents=[b"\x10\x10" * 2_000_000])
    assert parsed_size(message.SerializeToString(), KIND) < 4_001_000


@pytest.mark.parametrize(
    ("field", "values", "width"),
    [
        ("fp32_contents", [1.5], 4), ("fp64_contents", [1.5], 8), ("int64_contents", [1], 8),
        ("bool_contents", [True], 1), ("int64_contents", [-1], 8), ("int_contents", [1], 4),
        ("uint_contents", [1 << 31], 4),
    ],
)  # fmt: skip
def test_packed_numbers_count_what_they_take_when_parsed(field: str, values: list[Any], width: int) -> None:
    contents: Any = {field: values * 100_000}
    tensor = Tensor(contents=pb.InferTensorContents(**contents))
    size = parsed_size(pb.ModelInferRequest(inputs=[tensor]).SerializeToString(), KIND)
    assert 100_000 * width <= size <= 100_000 * width + 1000


@pytest.mark.parametrize("message", [b"*\x00" * (MOST_FIELDS + 1), b"*\x80\xb5\x7a" + b"\x18\x01" * 1_000_000])
def test_too_many_fields_are_refused(message: bytes) -> None:
    with pytest.raises(InvalidInput, match="too many fields"):
        parsed_size(message, KIND)


@pytest.mark.parametrize("message", [b"", b"\xff" * 1000, b"*\xff\xff\xff\x7f", b"\x0b" * 100, bytes(100)])
def test_what_is_no_message_is_left_to_the_parser(message: bytes) -> None:
    assert parsed_size(message, KIND) >= len(message)
