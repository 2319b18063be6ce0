"""Whatever a body and its headers hold, a predictor answers it or refuses it; it never fails in another way."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidInput
from common.protocol.oip import decode_binary, decode_request
from common.protocol.tensors import DATATYPES, TensorSpec, datatype_of
from tests.unit.common.protocol.request_bodies import binary_body, body, spec, tensor

SPECS = [
    [spec("FP32", -1, 4)],
    [spec("FP32", -1)],
    [spec("INT64", 2, -1)],
    [spec("BYTES", -1)],
    [spec("FP64")],
    [spec("UINT64", -1, name="x"), spec("BOOL", -1, name="y")],
]
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
ELEMENTS: st.SearchStrategy[Any] = NUMBERS | st.booleans() | st.none() | st.text(max_size=5) | st.just({})
DATA = st.recursive(ELEMENTS, lambda inner: st.lists(inner, max_size=4), max_leaves=12)
SIZES = st.integers(-2, 5) | st.sampled_from([2**31, 2**62, 2**63, 2**70, 10**4000])
TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "y"]),
        "datatype": st.sampled_from([*DATATYPES, "FLOAT", ""]),
        "shape": st.lists(SIZES, max_size=4) | st.just([1] * 17),
    },
    optional={
        "data": st.lists(DATA, max_size=5) | st.none(),
        "parameters": st.dictionaries(st.just("binary_data_size"), SIZES | st.text(max_size=3) | st.none(), max_size=1),
    },
)
REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=3)},
    optional={
        "id": st.text(max_size=4) | st.none() | st.integers(),
        "parameters": st.dictionaries(st.just("binary_data_output"), ELEMENTS, max_size=1),
        "outputs": st.lists(st.fixed_dictionaries({"name": st.text(max_size=3)}), max_size=2),
    },
)
HEADERS = st.integers(0, 400).map(str) | st.text(st.characters(max_codepoint=255), max_size=24)
MANY = settings(max_examples=10 * settings().max_examples)


def ask(raw: bytes, header: str | None, specs: list[TensorSpec]) -> None:
    """What is let in is just what the model takes."""
    try:
        decoded = decode_request(raw, specs) if header is None else decode_binary(raw, header, specs)
    except InvalidInput:
        return
    assert list(decoded.inputs) == [one.name for one in specs] or len(specs) > 1
    for one in specs:
        array = decoded.inputs[one.name]
        assert datatype_of(array) == one.datatype
        assert array.size
        assert all(want in (-1, got) for want, got in zip(one.shape, array.shape, strict=True))


@MANY
@given(REQUESTS, st.sampled_from(SPECS))
def test_requests_of_strange_values(request: dict[str, Any], specs: list[TensorSpec]) -> None:
    ask(json.dumps(request).encode(), None, specs)


@MANY
@given(REQUESTS, st.binary(max_size=64), st.integers(-3, 3), st.sampled_from(SPECS))
def test_requests_of_strange_values_with_binary_behind(
    request: dict[str, Any], tail: bytes, off: int, specs: list[TensorSpec]
) -> None:
    header = json.dumps(request).encode()
    ask(header + tail, str(len(header) + off), specs)


@MANY
@given(st.binary(max_size=100), HEADERS, st.sampled_from(SPECS))
def test_any_bytes_under_any_header(raw: bytes, header: str, specs: list[TensorSpec]) -> None:
    ask(raw, None, specs)
    ask(raw, header, specs)


EDITS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3), st.binary(max_size=4)), min_size=1, max_size=4)


@MANY
@given(EDITS, st.sampled_from(SPECS))
def test_good_requests_with_a_few_bytes_changed(edits: list[tuple[int, int, bytes]], specs: list[TensorSpec]) -> None:
    row = tensor("FP32", [1, 4], [5.1, 3.5, 1.4, 0.2])
    binary, header = binary_body((row, bytes(16)))
    for raw, length in ((body(row, id="7"), None), (binary, header)):
        for at, cut, new in edits:
            at %= len(raw)
            raw = raw[:at] + new + raw[at + cut :]
            if not raw:
                return
        ask(raw, length, specs)
