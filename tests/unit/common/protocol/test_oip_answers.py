"""How outputs are written for whoever asked, and read by a client that is itself a service."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInput, UpstreamFailed
from common.protocol.oip import DecodedRequest, InferResponseJson, RequestedOutput, encode_response
from common.protocol.oip_caller import decode_response
from common.protocol.tensors import DATATYPES, Array
from tests.unit.common.protocol.request_bodies import arrays, same

JSON_DATATYPES = [name for name in DATATYPES if name != "FP16"]


def wants(name: str, binary: bool | None = None) -> RequestedOutput:
    return RequestedOutput(name, {} if binary is None else {"binary_data": binary})


@pytest.mark.parametrize("datatype", JSON_DATATYPES)
@given(st.data())
def test_a_client_reads_every_datatype_from_json(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    raw, length = encode_response(DecodedRequest({}, "7"), "m", "1", {"y": array})
    assert length is None
    response, read = decode_response(raw, None)
    assert same(read["y"], array)
    assert (response.model_name, response.model_version, response.id) == ("m", "1", "7")


@pytest.mark.parametrize("datatype", DATATYPES)
@given(st.data())
def test_a_client_reads_every_datatype_from_binary(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    raw, length = encode_response(DecodedRequest({}, all_binary=True), "m", "1", {"y": array, "z": array})
    _, read = decode_response(raw, length)
    assert same(read["y"], array)
    assert same(read["z"], array)


def test_an_answer_says_nothing_that_is_not_set() -> None:
    raw, _ = encode_response(DecodedRequest({}), "m", "1", {"y": np.array([1, 2], np.float32)})
    assert json.loads(raw) == {
        "model_name": "m",
        "model_version": "1",
        "outputs": [{"name": "y", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]}],
    }


@pytest.mark.parametrize(
    ("of_all", "of_one", "binary"),
    [(False, None, False), (True, None, True), (False, True, True), (True, False, False)],
)
def test_what_is_asked_of_one_output_wins_over_what_is_asked_of_all(
    of_all: bool, of_one: bool | None, binary: bool
) -> None:
    decoded = DecodedRequest({}, outputs=[wants("y", of_one)], all_binary=of_all)
    raw, length = encode_response(decoded, "m", "1", {"y": np.array([1], np.float32)})
    (output,) = json.loads(raw[:length])["outputs"]
    assert ("data" not in output) == binary
    assert output.get("parameters", {}).get("binary_data_size") == (4 if binary else None)


def test_json_and_binary_outputs_mix() -> None:
    outputs: dict[str, Array] = {
        "a": np.array([1], np.int64),
        "b": np.array([[2, 3]], np.float32),
        "c": np.array(["text"], dtype=object),
    }
    decoded = DecodedRequest({}, outputs=[wants("b", True)])
    raw, length = encode_response(decoded, "m", "1", outputs)
    _, read = decode_response(raw, length)
    assert [read[name].tolist() for name in "abc"] == [[1], [[2.0, 3.0]], [b"text"]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_sent_only_in_binary(value: float) -> None:
    outputs = {"y": np.array([1, value], np.float32)}
    with pytest.raises(
        InvalidInput, match=f"'y' has {value} at element 1, which JSON cannot carry; request it with param"
    ):
        encode_response(DecodedRequest({}), "m", "1", outputs)
    raw, length = encode_response(DecodedRequest({}, all_binary=True), "m", "1", outputs)
    assert raw[length:] == outputs["y"].tobytes()


def test_the_word_null_in_an_answer_is_no_nan() -> None:
    outputs = {"null": np.array([b"null"], dtype=object), "y": np.array([1], np.float32)}
    raw, _ = encode_response(DecodedRequest({}, "null"), "m", "1", outputs)
    assert json.loads(raw)["id"] == "null"


def test_fp16_has_no_json_form() -> None:
    with pytest.raises(InvalidInput, match=r"'y' is FP16, which has no JSON form; request it with parameters\.binary"):
        encode_response(DecodedRequest({}), "m", "1", {"y": np.array([1], np.float16)})


def answer(**output: Any) -> bytes:
    described = {"name": "y", "datatype": "FP32", "shape": [1], **output}
    return json.dumps({"model_name": "m", "model_version": "1", "outputs": [described]}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"error":"busy"}',
        answer(data=[1])[:-4] + b"[" * 9999,
        answer(),
        answer(data=["1"]),
        answer(data=[1, 2]),
        answer(data=[1], datatype="FLOAT"),
        answer(data=[], shape=[0, 2**62]),
        answer(parameters={"binary_data_size": 4}),
        answer(parameters={"binary_data_size": -4}),
        answer(parameters={"binary_data_size": "4"}),
        answer(parameters={"binary_data_size": 4.0}),
        answer(parameters={"binary_data_size": 10**30}),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_the_upstreams_failure(raw: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="not a valid inference response"):
        decode_response(raw, None)


@given(st.binary(max_size=60), st.integers(0, 80) | st.none())
def test_no_bytes_make_a_client_fail_in_another_way(raw: bytes, length: int | None) -> None:
    try:
        response, _ = decode_response(raw, length)
    except UpstreamFailed:
        return
    assert isinstance(response, InferResponseJson)
