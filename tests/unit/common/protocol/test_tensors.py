"""Arrays of every datatype come through the wire formats unchanged; nothing else is let in."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInput
from common.protocol.tensors import (
    DATATYPES,
    MAX_ELEMENTS,
    Array,
    TensorSpec,
    check_finite,
    datatype_of,
    from_binary,
    from_json,
    split_bytes,
    to_binary,
)
from tests.unit.common.protocol.request_bodies import NUMERIC, SHAPES, arrays, as_json, same

JSON_DATATYPES = [name for name in DATATYPES if name != "FP16"]


def read(data: Any, datatype: str, shape: Any, where: str = "x", indent: int | None = None) -> Array:
    return from_json(json.dumps(data, indent=indent).encode(), datatype, shape, where)


@pytest.mark.parametrize("datatype", JSON_DATATYPES)
@given(st.data())
def test_json_data_come_through_unchanged_nested_and_flat(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    nested, flat = as_json(array), as_json(array.reshape(-1))
    assert same(read(nested, datatype, array.shape), array)
    assert same(read(flat, datatype, array.shape), array)


@pytest.mark.parametrize("datatype", DATATYPES)
@given(st.data())
def test_binary_data_come_through_unchanged(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    assert same(from_binary(to_binary(array), datatype, array.shape, "x"), array)


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_bytes_elements_may_hold_any_bytes(elements: list[bytes]) -> None:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    assert split_bytes(to_binary(array), len(elements), "x").tolist() == elements


def test_binary_layout_is_the_one_that_the_protocol_states() -> None:
    assert to_binary(np.array([1, 258], dtype=np.uint16)) == b"\x01\x00\x02\x01"
    assert to_binary(np.array([True, False])) == b"\x01\x00"
    assert to_binary(np.array([b"ab", "\u00e9"], dtype=object)) == b"\x02\x00\x00\x00ab\x02\x00\x00\x00\xc3\xa9"
    assert to_binary(np.array([[1, 2], [3, 4]], dtype=np.uint8).T) == b"\x01\x03\x02\x04"


def test_fixed_width_strings_are_bytes() -> None:
    for array in (np.array(["a", "bc"]), np.array([b"a", b"bc"])):
        assert datatype_of(array) == "BYTES"
        assert split_bytes(to_binary(array), 2, "x").tolist() == [b"a", b"bc"]


def test_numeric_binary_data_are_read_in_place() -> None:
    raw = np.arange(4, dtype=np.float32).tobytes()
    assert not from_binary(raw, "FP32", [4], "x").flags.owndata


WRONG_DATA: list[tuple[str, list[int], Any, str]] = [
    ("FP32", [2], ["1", "2"], "expected `float`, got `str`"),
    ("FP32", [2], [1, "2"], "expected `float`, got `str`"),
    ("FP32", [2], [True, False], "expected `float`, got `bool`"),
    ("FP64", [2], [1.0, None], "expected `float`, got `null`"),
    ("FP32", [1], [{}], "expected `float`, got `object`"),
    ("FP32", [3], [[1, 2], [3]], "expected rows of equal length"),
    ("FP32", [2], [[1], 2], "expected `array`, got `int`"),
    ("FP32", [2], [1, [2]], "expected `float`, got `array`"),
    ("FP32", [1], {}, "expected `array`, got `object`"),
    ("FP32", [1], None, "expected `array`, got `null`"),
    ("FP32", [1], 1.5, "expected `array`, got `float`"),
    ("FP32", [1], [1e39], "outside the range of FP32"),
    ("FP32", [2], [-1e39, 0], "outside the range of FP32"),
    ("FP32", [1], [10**400], "out of range"),
    ("FP64", [1], [10**400], "out of range"),
    ("INT32", [2], [1.5, 2], "expected `int`, got `float`"),
    ("INT8", [2], [128, 0], "outside the range of INT8"),
    ("INT8", [2], [-129, 0], "outside the range of INT8"),
    ("UINT8", [1], [-1], "outside the range of UINT8"),
    ("INT64", [2], [2**63, -1], "outside the range of INT64"),
    ("INT64", [1], [2**70], "outside the range of INT64"),
    ("UINT64", [1], [2**64], "outside the range of UINT64"),
    ("UINT64", [2], [-1, 2**64 - 1], "outside the range of UINT64"),
    ("BOOL", [2], [0, 1], "expected `bool`, got `int`"),
    ("BOOL", [1], [2**70], "expected `bool`"),
    ("BYTES", [2], ["a", 1], "expected `str`, got `int`"),
    ("BYTES", [3], [["a", "b"], ["c"]], "expected rows of equal length"),
    ("FP16", [1], [1.0], "FP16 has no JSON form"),
    ("FLOAT", [1], [1.0], "expected one of BOOL, UINT8"),
    ("FP32", [3], [1, 2], "expected 3 values for shape [3], got 2"),
    ("FP32", [4], [[1, 2], [3, 4]], "is nested as [2, 2], but shape is [4]"),
    ("FP32", [0, 4], [1], "expected 0 values"),
]  # fmt: skip


@pytest.mark.parametrize(("datatype", "shape", "data", "reason"), WRONG_DATA)
def test_wrong_json_data_are_refused_by_field(datatype: str, shape: list[int], data: Any, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(data, datatype, shape, "inputs[3]")
    (field,) = caught.value.fields
    assert field.field.startswith("inputs[3].")
    assert reason in field.reason


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ([-1, 4], "expected no negative dimension"),
        ([-2, -2], "expected no negative dimension"),
        ([1] * 17, "expected at most 16 dimensions, got 17"),
        ([0, 2**62, 2**62], f"expected at most {MAX_ELEMENTS} elements"),
        ([0, 2**70], f"expected at most {MAX_ELEMENTS} elements"),
        ([2**32, 2**32], f"expected at most {MAX_ELEMENTS} elements"),
        ([10**4000, 10**4000], f"expected at most {MAX_ELEMENTS} elements"),
    ],
)
def test_a_shape_that_no_array_can_have_is_refused(shape: list[int], reason: str) -> None:
    for from_text in (True, False):
        with pytest.raises(InvalidInput) as caught:
            read([], "FP32", shape) if from_text else from_binary(b"", "FP32", shape, "x")
        assert caught.value.fields[0].field == "x.shape"
        assert reason in caught.value.fields[0].reason


def test_large_numbers_beside_small_ones_keep_every_bit() -> None:
    assert read([2**64 - 1, 1], "UINT64", [2]).tolist() == [2**64 - 1, 1]
    assert read([2**63 - 1, -(2**63)], "INT64", [2]).tolist() == [2**63 - 1, -(2**63)]


def test_floats_take_whole_numbers_of_any_size_that_fits() -> None:
    assert read([10**20, 2**70, 1.5], "FP64", [3]).tolist() == [1e20, 2.0**70, 1.5]
    assert read([3.4e38, -3.4e38], "FP32", [2]).dtype == np.float32
    assert read([1e300, -1e300], "FP64", [2]).tolist() == [1e300, -1e300]


@pytest.mark.parametrize("count", [1, 100])
def test_the_largest_fp32_is_read_in_its_shortest_form(count: int) -> None:
    largest = np.finfo(np.float32).max
    assert read([float(f"{sign}3.4028235e+38") for sign in "+-"] * count, "FP32", [2 * count]).max() == largest
    for beyond in (3.4028235677973366e38, -3.4028235677973366e38):  # half a step further rounds to infinity
        with pytest.raises(InvalidInput, match="outside the range of FP32"):
            read([beyond] * count, "FP32", [count])


@given(arrays("FP32", SHAPES), st.integers(0, 20))
def test_nested_data_may_be_written_over_many_lines(array: Array, indent: int) -> None:
    assert same(read(array.tolist(), "FP32", array.shape, indent=indent), array)


def test_an_empty_tensor_has_its_shape() -> None:
    assert read([], "FP32", [0, 4]).shape == (0, 4)
    assert from_binary(b"", "FP32", [0, 4], "x").shape == (0, 4)
    assert from_binary(b"", "BYTES", [0], "x").shape == (0,)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_binary_nan_and_infinity_are_values_unless_an_input_takes_only_finite_numbers(
    datatype: str, value: float
) -> None:
    sent = np.array([[0, 1], [value, 3]], DATATYPES[datatype])
    array = from_binary(sent.tobytes(), datatype, [2, 2], "x")
    assert array.tobytes() == sent.tobytes()
    TensorSpec("x", datatype, (-1, 2)).check(array, "x")
    with pytest.raises(InvalidInput, match=r"x\.data: expected finite numbers, got -?(nan|inf) at element 2"):
        TensorSpec("x", datatype, (-1, 2), finite=True).check(array, "x")


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_the_largest_numbers_of_a_datatype_are_finite(datatype: str) -> None:
    largest = np.finfo(DATATYPES[datatype]).max
    check_finite(np.array([largest, -largest, largest], DATATYPES[datatype]), "x")


@pytest.mark.parametrize("datatype", NUMERIC)
@pytest.mark.parametrize("difference", [-1, 1])
def test_binary_data_of_another_size_than_the_shape_are_refused(datatype: str, difference: int) -> None:
    size = 6 * DATATYPES[datatype].itemsize + difference
    with pytest.raises(InvalidInput, match=rf"expected {6 * DATATYPES[datatype].itemsize} bytes .* got {size}"):
        from_binary(bytes(size), datatype, [2, 3], "x")


def test_a_bool_byte_is_0_or_1() -> None:
    with pytest.raises(InvalidInput, match="expected each BOOL byte to be 0 or 1"):
        from_binary(b"\x00\x02", "BOOL", [2], "x")


@pytest.mark.parametrize(
    ("raw", "count", "reason"),
    [
        (b"\x05\x00\x00\x00abc", 1, "states 5 bytes, but only 3 follow"),
        (b"\xff\xff\xff\xffabc", 1, "states 4294967295 bytes, but only 3 follow"),
        (b"\x01\x00\x00\x00a\x01\x00", 2, "ends within the length"),
        (b"\x01\x00\x00\x00a", 2, "expected 2 BYTES elements, got 1"),
        (b"\x00\x00\x00\x00" * 9, 2, "expected 2 BYTES elements, got 3 or more"),
    ],
)
def test_bytes_elements_whose_lengths_lie_are_refused(raw: bytes, count: int, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        split_bytes(raw, count, "x")
