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


def test_packed_numbers_count_eight_times() -> None:
    tensor = Tensor(contents=pb.InferTensorContents(int64_contents=[1] * 100_000))
    assert parsed_size(pb.ModelInferRequest(inputs=[tensor]).SerializeToString(), KIND) > 800_000


@pytest.mark.parametrize("message", [b"*\x00" * (MOST_FIELDS + 1), b"*\x80\xb5\x7a" + b"\x18\x01" * 1_000_000])
def test_too_many_fields_are_refused(message: bytes) -> None:
    with pytest.raises(InvalidInput, match="too many fields"):
        parsed_size(message, KIND)


@pytest.mark.parametrize("message", [b"", b"\xff" * 1000, b"*\xff\xff\xff\x7f", b"\x0b" * 100, bytes(100)])
def test_what_is_no_message_is_left_to_the_parser(message: bytes) -> None:
    assert parsed_size(message, KIND) >= len(message)
