"""A long list of numbers is decoded in pieces, with the same result and the same errors as in one."""

from __future__ import annotations

import json
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from common.errors import InvalidInput
from common.protocol.json_pieces import PIECE, decode_in_pieces
from common.protocol.tensors import nested_json

FP32 = np.dtype("<f4")
VALUES = np.random.default_rng(1).normal(size=48_000).astype(np.float32)


@pytest.mark.parametrize("shape", [(-1,), (-1, 4), (1, -1), (2, -1), (1, 1, -1, 2), (3, 1, -1)])
@pytest.mark.parametrize("indent", [None, 1])
def test_every_nesting_is_read(shape: tuple[int, ...], indent: int | None) -> None:
    array = VALUES.reshape(shape)
    text = json.dumps(array.tolist(), indent=indent).encode()
    sizes: list[int] = []

    def decode(piece: bytes) -> Any:
        sizes.append(len(piece))
        return np.array(json.loads(piece), np.float32)

    found = decode_in_pieces(b" " + text + b"\n", decode, "x")
    assert found.shape == array.shape
    assert np.array_equal(found, array)
    assert len(sizes) > 3
    assert max(sizes) < 3 * PIECE


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ("[" + "1," * 300_000 + "true]", "x[300000]", "expected `float`, got `bool`"),
        ("[" + "[1,2]," * 100_000 + "[1,null]]", "x[100000][1]", "expected `float`, got `null`"),
        ("[" + "[1,2]," * 100_000 + "[1]]", "x", "expected rows of equal length"),
        ("[" + "1," * 300_000 + "1e39]", "x", "contains a value outside the range of FP32"),
        ("[" + "1," * 300_000 + '"]"]', "x[300000]", "expected `float`, got `str`"),
    ],
)
def test_an_error_names_the_element_of_the_whole_list(text: str, field: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        nested_json(text.encode(), FP32, "x")
    (error,) = caught.value.fields
    assert error.field == field
    assert error.reason.startswith(reason)


def test_lists_that_are_nested_too_deep_are_refused_at_once() -> None:
    text = b"[" * 700 + b",".join([b"1"] * 2_000_000) + b"]" * 700
    start = perf_counter()
    with pytest.raises(InvalidInput):
        nested_json(text, np.dtype(np.float32), "data")
    assert perf_counter() - start < 2
