"""Rows of named values: errors name the values, and no request makes an error that is larger than itself."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from common.errors import InvalidInput
from common.preprocessing.tabular import compiled
from common.protocol.rows import MAX_REPORTED, columns_of, rows_to_array, rows_to_inputs
from common.protocol.tensors import TensorSpec

NAMES = tuple(f"feature_{index:04d}" for index in range(1000))
OTHERS = {f"other_{index}": index for index in range(20_000)}
WIDE = columns_of([TensorSpec("x", "FP32", (-1, 1000), NAMES)])


REFUSALS: dict[str, Callable[[dict[str, Any]], object]] = {
    "of any type": lambda row: rows_to_inputs([row], WIDE, count=1),
    "numbers": lambda row: rows_to_array([row], NAMES, exact=True),
    "for a table": lambda row: compiled([("order", list(NAMES))])[0](row),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_an_error_is_small_however_many_names_are_wrong(kind: str) -> None:
    row = dict.fromkeys(NAMES, 1.0) | OTHERS
    tracemalloc.start()
    with pytest.raises(InvalidInput, match="and 980 more") as caught:
        REFUSALS[kind](row)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(caught.value.fields) == MAX_REPORTED
    assert most < 3_000_000


@pytest.mark.parametrize(("datatype", "largest"), [("FP16", 65519.0), ("FP32", 3.4028235e38), ("FP64", 1.7e308)])
def test_a_number_that_would_become_infinite_is_refused_and_infinity_is_not(datatype: str, largest: float) -> None:
    columns = columns_of([TensorSpec("x", datatype, (-1, 1), ("a",))])
    inputs = rows_to_inputs([{"a": largest}, {"a": float("-inf")}], columns, count=2)["x"]
    assert np.isfinite(inputs[0, 0])
    assert inputs[1, 0] == -np.inf
    with pytest.raises(InvalidInput, match=rf"instances\[0\].a is outside the range of {datatype}"):
        rows_to_inputs([{"a": int(largest) * 10}], columns, count=1)
    if datatype != "FP64":
        with pytest.raises(InvalidInput, match="is outside the range"):
            rows_to_inputs([{"a": largest * 1.001}], columns, count=1)
