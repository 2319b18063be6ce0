"""What a predictor reads out of a request's body, and how it says what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInput
from common.protocol.oip import decode_binary, decode_request
from common.protocol.oip_caller import encode_request
from common.protocol.tensors import DATATYPES
from tests.unit.common.protocol.request_bodies import arrays, as_json, binary_body, body, same, spec, tensor

FLOWERS = [spec("FP32", -1, 4)]
ROW = [5.1, 3.5, 1.4, 0.2]
JSON_DATATYPES = [name for name in DATATYPES if name != "FP16"]


def refusal(raw: bytes, header: str | None = None, specs: Any = FLOWERS) -> tuple[str, str]:
    """The field and the reason of a refused request."""
    with pytest.raises(InvalidInput) as caught:
        decode_request(raw, specs) if header is None else decode_binary(raw, header, specs)
    (error,) = caught.value.fields
    assert caught.value.detail == f"{error.field}: {error.reason}"
    return error.field, error.reason


@pytest.mark.parametrize("datatype", JSON_DATATYPES)
@given(st.data())
def test_every_datatype_is_read_from_json(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    decoded = decode_request(
        body(tensor(datatype, list(array.shape), as_json(array)), id="7"), [spec(datatype, -1, *array.shape[1:])]
    )
    assert same(decoded.inputs["x"], array)
    assert decoded.id == "7"


@pytest.mark.parametrize("datatype", DATATYPES)
@given(st.data())
def test_every_datatype_is_read_from_binary(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    raw, length = encode_request({"x": array}, id="7")
    decoded = decode_binary(raw, str(length), [spec(datatype, -1, *array.shape[1:])])
    assert same(decoded.inputs["x"], array)
    assert decoded.id == "7"
    assert decoded.binary("anything")


def test_json_and_binary_tensors_mix_in_one_request() -> None:
    binary = {"datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}
    described = [{"name": "a", **binary}, tensor("FP32", [1], [6], "b"), {"name": "c", **binary}]
    header = json.dumps({"inputs": described}).encode()
    raw = header + np.array([5, 7], np.float32).tobytes()
    decoded = decode_binary(raw, str(len(header)), [spec("FP32", -1, name=name) for name in "abc"])
    assert [decoded.inputs[name].tolist() for name in "abc"] == [[5.0], [6.0], [7.0]]


def test_a_header_of_0_means_that_the_body_is_the_one_input() -> None:
    rows = np.arange(8, dtype=np.float32)
    decoded = decode_binary(rows.tobytes(), "0", FLOWERS)
    assert decoded.inputs["x"].tolist() == rows.reshape(2, 4).tolist()
    assert decoded.binary("anything")
    text = decode_binary("déjà".encode(), "0", [spec("BYTES", -1, 1)])
    assert text.inputs["x"].tolist() == [["déjà".encode()]]


@pytest.mark.parametrize(
    ("raw", "specs", "reason"),
    [
        (b"", FLOWERS, "expected a multiple of 16 bytes"),
        (bytes(15), FLOWERS, "expected a multiple of 16 bytes"),
        (bytes(32), [spec("FP32", 4)], "expected a multiple of 16 bytes"),
        (bytes(16), [spec("FP32", -1, -1)], "expected a multiple of 4 bytes"),
        (bytes(16), [*FLOWERS, spec("FP32", -1, name="y")], "0 is allowed for a model with one input; this one has 2"),
        (b"text", [spec("BYTES", -1, 2)], "0 is allowed for an input of one BYTES element"),
    ],
)
def test_a_raw_body_that_is_not_the_one_input_is_refused(raw: bytes, specs: Any, reason: str) -> None:
    assert reason in refusal(raw, "0", specs)[1]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "expected a number of bytes, got ''"),
        ("-1", "expected a number of bytes, got '-1'"),
        ("1e2", "expected a number of bytes"),
        ("²", "expected a number of bytes"),
        ("0" * 25, "expected a number of bytes"),
        ("9" * 20, "but the body has 2"),
        ("3", "states 3 bytes, but the body has 2"),
    ],
)
def test_a_header_that_is_no_length_is_refused(header: str, reason: str) -> None:
    field, said = refusal(b"{}", header)
    assert field == "Inference-Header-Content-Length"
    assert reason in said


@pytest.mark.parametrize("size", [-1, 15, 17, 4.0, "16", True, None, 10**30])
def test_a_binary_size_that_does_not_add_up_is_refused(size: Any) -> None:
    described = {"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": size}}
    header = json.dumps({"inputs": [described]}).encode()
    field, _ = refusal(header + bytes(16), str(len(header)))
    assert field == ("inputs[0]" if size is None else "inputs[0].parameters.binary_data_size")


def test_bytes_left_over_after_the_last_tensor_are_refused() -> None:
    raw, length = binary_body((tensor("FP32", [1, 4], None), bytes(16)))
    field, reason = refusal(raw + b"x", length)
    assert (field, reason) == ("body", "expected 16 bytes of binary tensors after the JSON header, got 17")


def test_a_tensor_with_both_kinds_of_data_or_none_is_refused() -> None:
    both = {**tensor("FP32", [1, 4], ROW), "parameters": {"binary_data_size": 16}}
    header = json.dumps({"inputs": [both]}).encode()
    assert (
        refusal(header + bytes(16), str(len(header)))[1]
        == "expected either data or parameters.binary_data_size, got both"
    )
    none = {"name": "x", "datatype": "FP32", "shape": [1, 4]}
    assert refusal(body(none))[1] == "expected data or parameters.binary_data_size, got neither"


GOOD = tensor("FP32", [1, 4], ROW)


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        (b"", "body", "is not valid JSON"),
        (b"\xff\xfe", "body", "is not valid JSON"),
        (b"[]", "body", "expected `object`, got `array`"),
        (b"{}", "inputs", "is missing"),
        (body(GOOD).replace(b"3.5", b"NaN"), "body", "is not valid JSON"),
        (body(GOOD).replace(b"3.5", b"1e999"), "inputs[0].data[1]", "out of range"),
        (b'{"inputs":' + b"[" * 100_000, "inputs[0]", "expected `object`, got `array`"),
        (b'{"id":' + b"[" * 100_000, "id", "expected `str"),
        (b'{"parameters":{"a":' + b"[" * 100_000, "body", "is not valid JSON"),
        (body(tensor("FP32", [1, 4], "text")), "inputs[0].data", "expected `array"),
        (body(tensor("FP32", [1.5, 4], ROW)), "inputs[0].shape[0]", "expected `int`"),
        (body(tensor("FP32", [True, 4], ROW)), "inputs[0].shape[0]", "expected `int`"),
        (body({**GOOD, "name": None}), "inputs[0].name", "expected `str`"),
        (body(GOOD, id=7), "id", "expected `str"),
        (body(), "inputs", "expected 'x', got []"),
        (body({**GOOD, "name": "y"}), "inputs", "expected 'x', got ['y']"),
        (body(GOOD, {**GOOD, "name": "y"}), "inputs", "expected 'x', got ['x', 'y']"),
        (body(GOOD, GOOD), "inputs[1].name", "expected each input once, got 'x' twice"),
        (body(tensor("FP64", [1, 4], ROW)), "inputs[0].datatype", "expected FP32, got FP64"),
        (body(tensor("FP32", [4], ROW)), "inputs[0].shape", "expected [-1, 4], got [4]"),
        (body(tensor("FP32", [2, 2], ROW)), "inputs[0].shape", "expected [-1, 4], got [2, 2]"),
        (body(tensor("FP32", [1, 4], [1, None, 1, 1])), "inputs[0].data[1]", "or say `missing: true` for this input"),
        (body(tensor("FP32", [1, 4], [1, True, 1, 1])), "inputs[0].data[1]", "expected `float`, got `bool`"),
        (body(tensor("FP32", [1, 4], [[1, 1, True, 1]])), "inputs[0].data[0][2]", "expected `float`, got `bool`"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_by_field(raw: bytes, field: str, reason: str) -> None:
    said = refusal(raw)
    assert said[0] == field
    assert reason in said[1]


def test_a_scalar_is_no_row_of_a_vector() -> None:
    assert refusal(body(tensor("FP32", [], [1.0])), specs=[spec("FP32", -1)]) == (
        "inputs[0].shape",
        "expected [-1], got []",
    )


def test_inputs_with_different_numbers_of_rows_are_refused() -> None:
    specs = [spec("FP32", -1, name="a"), spec("FP32", -1, 1, name="b")]
    raw = body(tensor("FP32", [2], [1, 2], "a"), tensor("FP32", [3, 1], [1, 2, 3], "b"))
    assert refusal(raw, specs=specs) == ("inputs[1].shape", "expected 2 rows like the other inputs, got 3")


def test_one_long_string_does_not_take_its_length_for_every_number() -> None:
    """numpy would make 64 gigabytes of it."""
    raw = body(tensor("FP32", [16_001], [*range(16_000), "a" * 1_000_000]))
    assert refusal(raw, specs=[spec("FP32", -1)])[0] == "inputs[0].data[16000]"


def test_a_refusal_quotes_no_more_than_a_line_of_what_came() -> None:
    field, reason = refusal(body({**GOOD, "datatype": "A" * 1_000_000}))
    assert field == "inputs[0].datatype"
    assert len(reason) <= 1000


@pytest.mark.parametrize(
    ("changes", "rest", "field", "reason"),
    [
        ({"shared_memory_region": "r"}, {}, "inputs[0].parameters.shared_memory_region", "send the tensor in"),
        ({}, {"outputs": [{"name": "y", "parameters": {"classification": 3}}]},
         "outputs[0].parameters.classification", "request the scores"),
        ({}, {"outputs": [{"name": "y", "parameters": {"shared_memory_byte_size": 3}}]},
         "outputs[0].parameters.shared_memory_byte_size", "not supported"),
        ({}, {"outputs": [{"name": "y", "parameters": {"binary_data": "no"}}]},
         "outputs[0].parameters.binary_data", "expected true or false, got 'no'"),
        ({}, {"parameters": {"binary_data_output": 1}}, "parameters.binary_data_output", "expected true or false"),
    ],
)  # fmt: skip
def test_what_triton_offers_beyond_the_protocol_is_refused_by_name(
    changes: dict[str, Any], rest: dict[str, Any], field: str, reason: str
) -> None:
    found = refusal(body({**tensor("FP32", [1, 4], ROW), "parameters": changes}, **rest))
    assert found[0] == field
    assert reason in found[1]
