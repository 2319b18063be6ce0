"""TensorFlow Serving's JSON: tensors out of rows and columns, what is wrong with them, and answers of either form."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInput
from common.protocol.tensors import DATATYPES, Array, TensorSpec
from common.protocol.tfserving import (
    arrays,
    by_name,
    decode_examples,
    decode_predict,
    encode_predictions,
    features,
)
from tests.unit.common.protocol import request_bodies
from tests.unit.common.protocol.request_bodies import as_json, same, spec

FLOWERS = [spec("FP32", -1, 4)]
TEXT = [spec("BYTES", -1)]
TWO = [spec("FP32", -1, 2, name="a"), spec("BYTES", -1, name="b")]
JSON_DATATYPES = [name for name in DATATYPES if name != "FP16"]


def read(body: Any, specs: list[TensorSpec]) -> dict[str, Array]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return arrays(decode_predict(raw), specs)


def refusal(body: Any, specs: list[TensorSpec]) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(body, specs)
    return caught.value.detail


def said(outputs: dict[str, Array], *, by_row: bool) -> Any:
    return json.loads(encode_predictions(outputs, by_row))


@pytest.mark.parametrize("form", ["instances", "inputs"])
@pytest.mark.parametrize("datatype", JSON_DATATYPES)
@given(st.data())
def test_the_nesting_is_the_shape_whatever_the_datatype(datatype: str, form: str, data: st.DataObject) -> None:
    array = data.draw(request_bodies.arrays(datatype))
    assert same(read({form: as_json(array)}, [spec(datatype, *array.shape)])["x"], array)


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [{"a": [1, 2], "b": "one"}, {"b": {"b64": "dHdv"}, "a": [3, 4.5]}]},
        {"inputs": {"b": ["one", {"b64": "dHdv"}], "a": [[1, 2], [3, 4.5]]}},
        {"inputs": {"a": [[1, 2], [3, 4.5]], "b": ["one", {"b64": "dHdv"}]}, "instances_": [], "signature_name": ""},
    ],
    ids=["rows", "columns", "what is not known is passed over"],
)
def test_several_inputs_come_by_name(body: Any) -> None:
    found = read(body, TWO)
    assert found["a"].tolist() == [[1, 2], [3, 4.5]]
    assert found["a"].dtype == np.float32
    assert found["b"].tolist() == [b"one", b"two"]


@pytest.mark.parametrize(
    "body",
    [
        {"instances": ["one", "two"]},
        {"instances": [{"b64": "b25l"}, {"b64": "dHdv"}]},
        {"instances": [{"b64": "b25l"}, "two"]},
        {"instances": [{"x": "one"}, {"x": {"b64": "dHdv"}}]},
        {"inputs": ["one", {"b64": "dHdv"}]},
        {"inputs": {"x": ["one", "two"]}},
    ],
    ids=["text", "base64", "both", "by name", "column", "column by name"],
)
def test_strings_are_text_or_base64(body: Any) -> None:
    assert read(body, TEXT)["x"].tolist() == [b"one", b"two"]


def test_any_bytes_are_sent_as_base64_with_or_without_padding() -> None:
    assert read({"instances": [{"b64": "AP8A"}, {"b64": "AA"}]}, TEXT)["x"].tolist() == [b"\0\xff\0", b"\0"]


@pytest.mark.parametrize(("body", "datatype"), [({"inputs": 2.5}, "FP32"), ({"inputs": "one"}, "BYTES")])
def test_a_lone_value_is_a_tensor_without_dimensions(body: Any, datatype: str) -> None:
    assert read(body, [spec(datatype)])["x"].shape == ()


def test_one_row_of_a_flat_input_is_one_number() -> None:
    assert read({"instances": [1, 2, 3]}, [spec("INT64", -1)])["x"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("body", "specs", "reason"),
    [
        (b"", FLOWERS, "body: is not valid JSON"),
        (b"[1]", FLOWERS, "body: expected `object`, got `array`"),
        ({}, FLOWERS, "body: expected either instances (row format) or inputs (column format)"),
        ({"instances": [[1]], "inputs": [[1]]}, FLOWERS, "body: expected either"),
        ({"instances": []}, FLOWERS, "instances: expected a list of at least one instance"),
        ({"instances": {"x": [1]}}, FLOWERS, "instances: expected a list"),
        ({"instances": None}, FLOWERS, "instances: expected a list"),
        ({"instances": [[1, 2], [3]]}, FLOWERS, "instances: expected rows of equal length"),
        ({"instances": [["one"]]}, FLOWERS, "instances[0][0]: expected `float`, got `str`"),
        ({"instances": [[True]]}, FLOWERS, "instances[0][0]: expected `float`, got `bool`"),
        ({"instances": [[None]]}, FLOWERS, "instances[0][0]: expected `float`, got `null`"),
        ({"instances": [[1.5]]}, [spec("INT64", -1, 1)], "instances[0][0]: expected `int`, got `float`"),
        ({"instances": [[300]]}, [spec("INT8", -1, 1)], "instances: contains a value outside the range of INT8"),
        ({"instances": [[1e39]]}, FLOWERS, "instances: contains a value outside the range of FP32"),
        (b'{"instances": [[NaN]]}', FLOWERS, "body: is not valid JSON"),
        ({"instances": [[1]]}, [spec("FP16", -1, 1)], "instances: FP16 has no JSON form; use gRPC"),
        ({"instances": [{"y": [1]}]}, FLOWERS, "instances[0]: expected ['x'], got ['y']"),
        ({"instances": [{"x": [1]}, [1]]}, FLOWERS, "instances[1]: expected `object`, got `array`"),
        ({"instances": [{"a": [1, 2]}]}, TWO, "instances[0]: expected ['a', 'b'], got ['a']"),
        ({"instances": [[1, 2]]}, TWO, "instances: expected values by name for the inputs ['a', 'b']"),
        ({"inputs": [[1, 2]]}, TWO, "inputs: expected values by name"),
        ({"inputs": {"a": [[1, 2]], "b": ["x"], "c": 1}}, TWO, "inputs: expected ['a', 'b'], got ['a', 'b', 'c']"),
        ({"instances": [{"a": "one", "b": "one"}]}, TWO, "instances.a[0]: expected `float`, got `str`"),
        ({"instances": ["one", ["two"]]}, TEXT, "instances: expected rows of equal length"),
        ({"instances": [5]}, TEXT, "instances[0]: expected text or {\"b64\": text}, got 5"),
        ({"instances": ["one", {"b64": 5}]}, TEXT, "instances[1]: expected text or"),
        ({"instances": [{"b64": "?"}]}, TEXT, "instances[0]: is not valid base64: '?'"),
        ({"instances": [[[[[[[[[[[[[[[[[["x"]]]]]]]]]]]]]]]]]]}, TEXT, "expected text or"),
        ({"instances": [1], "signature_name": 5}, FLOWERS, "signature_name: expected `str`, got `int`"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_by_field(body: Any, specs: list[TensorSpec], reason: str) -> None:
    assert reason in refusal(body, specs)


def test_deep_nesting_is_refused() -> None:
    for specs in (FLOWERS, TEXT):
        assert refusal(b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", specs)
        assert refusal(b'{"inputs": ' + b"[" * 500 + b"1" + b"]" * 500 + b"}", specs)


PROBABILITIES, LABEL = np.array([[0.25, 0.75], [1, 0]], np.float32), np.array([1, 0], np.int64)


def test_rows_are_values_where_there_is_one_output_and_objects_where_there_are_several() -> None:
    assert said({"p": PROBABILITIES}, by_row=True) == {"predictions": [[0.25, 0.75], [1, 0]]}
    assert said({"p": PROBABILITIES, "label": LABEL}, by_row=True) == {
        "predictions": [{"p": [0.25, 0.75], "label": 1}, {"p": [1, 0], "label": 0}]
    }


def test_columns_are_values_where_there_is_one_output_and_by_name_where_there_are_several() -> None:
    assert said({"label": LABEL}, by_row=False) == {"outputs": [1, 0]}
    assert said({"p": PROBABILITIES, "label": LABEL}, by_row=False) == {
        "outputs": {"p": [[0.25, 0.75], [1, 0]], "label": [1, 0]}
    }


@pytest.mark.parametrize("by_row", [True, False], ids=["by row", "by column"])
@pytest.mark.parametrize("several", [True, False], ids=["several outputs", "one output"])
@pytest.mark.parametrize("datatype", [*DATATYPES, "longlong"])
def test_every_datatype_has_a_json_form(datatype: str, several: bool, by_row: bool) -> None:
    dtype = np.dtype(np.longlong) if datatype == "longlong" else DATATYPES[datatype]
    array = np.array([[0, 1], [1, 0]], dtype) if datatype != "BYTES" else np.array([["a", b"b"]], object)
    for one in (array, array.T, array[:, 0]):
        answer = said({"y": one, "z": one} if several else {"y": one}, by_row=by_row)
        values = answer["predictions" if by_row else "outputs"]
        if several:
            values = [row["y"] for row in values] if by_row else values["y"]
        assert values == (np.array(one.tolist(), object) if datatype != "BYTES" else as_text(one)).tolist()


def as_text(array: Array) -> Array:
    flat = [one.decode() if isinstance(one, bytes) else one for one in array.reshape(-1)]
    return np.array(flat, object).reshape(array.shape)


def test_strings_are_base64_where_the_name_of_the_output_says_bytes() -> None:
    outputs = {"text": np.array(["a"], object), "raw_bytes": np.array([b"\0\xff"], object)}
    assert said(outputs, by_row=True) == {"predictions": [{"text": "a", "raw_bytes": {"b64": "AP8="}}]}
    assert said({"text": np.array([b"\xff"], object)}, by_row=False) == {"outputs": ["�"]}


@pytest.mark.parametrize("by_row", [True, False])
def test_nan_has_no_json_form(by_row: bool) -> None:
    with pytest.raises(InvalidInput, match="'p' has nan at element 0, which JSON cannot carry; call Predict over gRPC"):
        encode_predictions({"text": np.array(["null"], object), "p": np.array([np.nan])}, by_row)
    assert said({"text": np.array(["null"], object)}, by_row=False) == {"outputs": ["null"]}


def test_outputs_without_common_rows_are_sent_only_in_columnar_format() -> None:
    outputs = {"p": PROBABILITIES, "whole": np.array(3.5, np.float32)}
    with pytest.raises(InvalidInput, match="differ in their number of rows"):
        encode_predictions(outputs, by_row=True)
    assert said(outputs, by_row=False)["outputs"]["whole"] == 3.5
    assert said({"whole": np.array(b"one", object)}, by_row=False) == {"outputs": "one"}


def test_examples_and_their_context_have_single_values_or_lists() -> None:
    body = {
        "context": {"where": "here", "a": 9},
        "examples": [{"a": 1.5, "b": [1, 2]}, {"b": {"b64": "AP8="}, "c": [True]}],
    }
    request = decode_examples(json.dumps(body).encode())
    assert list(features(request)) == [{"a": [1.5], "b": [1, 2]}, {"b": [b"\0\xff"], "c": [True]}]
    assert by_name(request.context, "context") == {"where": ["here"], "a": [9]}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "examples: is missing"),
        ({"examples": {}}, "examples: expected `array`, got `object`"),
        ({"examples": [5]}, "examples[0]: expected `object`, got `int`"),
        ({"examples": [{"a": {"b65": ""}}]}, "examples[0]"),
        ({"examples": [{"a": [[1]]}]}, "examples[0]"),
        ({"examples": [{"a": {"b64": "?"}}]}, "examples[0].a: is not valid base64: '?'"),
    ],
)
def test_a_wrong_example_is_refused_by_field(body: Any, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        list(features(decode_examples(json.dumps(body).encode())))
    assert reason in caught.value.detail
