"""Tensors of gRPC requests, typed or raw, are read exactly or refused by field."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from common.endpoints.backend import InferResponse
from common.endpoints.oip_grpc import decode, encode
from common.errors import InvalidInput
from common.protocol.grpc import oip_pb2 as pb
from common.protocol.tensors import DATATYPES, Array, to_binary
from tests.unit.common.protocol.request_bodies import arrays, same

CONTENTS = {
    "BOOL": "bool", "INT8": "int", "INT16": "int", "INT32": "int", "INT64": "int64", "UINT8": "uint", "UINT16": "uint",
    "UINT32": "uint", "UINT64": "uint64", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes",
}  # fmt: skip


def tensor(datatype: str, shape: Any, contents: dict[str, Any] | None = None, name: str = "x") -> Any:
    made = pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    if contents is not None:
        made.contents.CopyFrom(
            pb.InferTensorContents(**{f"{kind}_contents": values for kind, values in contents.items()})
        )
    return made


def request(*inputs: Any, raw: list[bytes] | None = None) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(model_name="m", id="7", inputs=inputs, raw_input_contents=raw or [])


@pytest.mark.parametrize("datatype", CONTENTS)
@given(st.data())
def test_typed_contents_are_read_exactly(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    values = array.reshape(-1).tolist()
    read = decode(request(tensor(datatype, array.shape, {CONTENTS[datatype]: values})))
    assert same(read["x"], array)


@pytest.mark.parametrize("datatype", DATATYPES)
@given(st.data())
def test_raw_contents_are_read_exactly_and_written_back(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    asked = request(tensor(datatype, array.shape), tensor(datatype, array.shape, name="y"), raw=[to_binary(array)] * 2)
    read = decode(asked)
    assert same(read["x"], array)
    assert same(read["y"], array)
    answer = encode(asked, InferResponse({"z": array}, "m", "3"))
    (output,) = answer.outputs
    assert (answer.model_version, answer.id, output.datatype, tuple(output.shape)) == ("3", "7", datatype, array.shape)
    assert answer.raw_output_contents[0] == to_binary(array)


def test_large_whole_numbers_keep_every_bit() -> None:
    read = decode(request(tensor("UINT64", [2], {"uint64": [2**64 - 1, 1]})))
    assert read["x"].tolist() == [2**64 - 1, 1]


X = tensor("FP32", [2], {"fp32": [1, 2]})


@pytest.mark.parametrize(
    ("asked", "field", "reason"),
    [
        (request(X, X), "inputs[1].name", "expected each input once, got 'x' twice"),
        (request(X, raw=[bytes(8)]), "inputs[0].contents", "expected no typed contents, since the"),
        (request(tensor("FP32", [2]), raw=[bytes(8), b""]), "raw_input_contents", "expected 1 entries, got 2"),
        (request(tensor("FP32", [2]), tensor("FP32", [2]), raw=[bytes(8)]), "raw_input_contents", "expected 2 entries"),
        (request(tensor("FP32", [2]), raw=[bytes(7)]), "inputs[0].parameters.binary_data_size", "expected 8 bytes"),
        (request(tensor("FP32", [2])), "inputs[0].contents", "expected 2 fp32_contents for shape [2], got 0"),
        (request(tensor("FP32", [2], {"fp64": [1, 2]})), "inputs[0].contents", "expected 2 fp32_contents"),
        (request(tensor("FP32", [3], {"fp32": [1, 2]})), "inputs[0].contents", "expected 3 fp32_contents"),
        (request(tensor("INT8", [1], {"int": [128]})), "inputs[0].contents", "outside the range of INT8"),
        (request(tensor("UINT16", [1], {"uint": [65536]})), "inputs[0].contents", "outside the range of UINT16"),
        (request(tensor("FP16", [1], {"fp32": [1]})), "inputs[0].datatype", "FP16 needs raw_input_contents"),
        (request(tensor("FLOAT", [1], {"fp32": [1]})), "inputs[0].datatype", "expected one of BOOL"),
        (request(tensor("FP32", [-1], {"fp32": [1]})), "inputs[0].shape", "expected no negative dimension"),
        (request(tensor("FP32", [1] * 17, {"fp32": [1]})), "inputs[0].shape", "expected at most 16 dimensions"),
        (request(tensor("FP32", [0, 2**62, 2**62], {})), "inputs[0].shape", "elements"),
    ],
)  # fmt: skip
def test_a_wrong_tensor_is_refused_by_field(asked: pb.ModelInferRequest, field: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(asked)
    (error,) = caught.value.fields
    assert error.field == field
    assert reason in error.reason


EDITS = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 2), st.binary(max_size=3)), min_size=1, max_size=4)


@settings(max_examples=10 * settings().max_examples)
@given(EDITS, st.booleans())
def test_a_request_with_a_few_bytes_changed_is_read_or_refused(edits: list[tuple[int, int, bytes]], raw: bool) -> None:
    good = (
        request(tensor("FP32", [2]), raw=[bytes(8)]) if raw else request(X, tensor("INT64", [1], {"int64": [5]}, "y"))
    )
    message = good.SerializeToString()
    for at, cut, new in edits:
        message = message[: at % len(message)] + new + message[at % len(message) + cut :]
        if not message:
            return
    asked = pb.ModelInferRequest()
    try:
        asked.ParseFromString(message)
        read: dict[str, Array] = decode(asked)
    except (InvalidInput, DecodeError):
        return
    assert len(read) == len(asked.inputs)
