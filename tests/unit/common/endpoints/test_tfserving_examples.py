"""Examples that share a context: what they take is what their rows take, whatever the context has."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from common.endpoints.tfserving import CLASSIFY, Features, row_bytes, rows
from common.errors import InvalidInput, PayloadTooLarge
from common.protocol.tensors import TensorSpec
from tests.unit.common.endpoints.fake_backend import FakeModel

COUNT, WIDTH = 2000, 500
NAMES = [f"feature_{index:04d}" for index in range(WIDTH)]
WIDE = FakeModel(
    "wide",
    [TensorSpec("x", "FP32", (-1, WIDTH))],
    [TensorSpec("scores", "FP32", (-1, 2))],
    lambda inputs: {},
    properties={"task": "classification", "features": json.dumps(NAMES), "labels": '["no", "yes"]'},
)
CONTEXT: Features = {name: [index] for index, name in enumerate(NAMES)}


def test_a_context_is_not_copied_for_each_example() -> None:
    examples: list[Features] = [{}] * COUNT
    examples[7] = {NAMES[3]: [-1.5]}
    tracemalloc.start()
    inputs = rows(WIDE, examples, COUNT, CLASSIFY, CONTEXT, COUNT)["x"]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    expected = np.tile(np.arange(WIDTH, dtype=np.float32), (COUNT, 1))
    expected[7, 3] = -1.5
    assert np.array_equal(inputs, expected)
    assert inputs.nbytes == row_bytes(WIDE, COUNT)
    assert most < 2 * inputs.nbytes


def test_a_context_of_unknown_names_is_refused_before_any_example_is_read() -> None:
    context: Features = {f"other_{index}": [1.0] for index in range(1500)}

    def unread() -> Features:
        raise AssertionError("an example was read")

    with pytest.raises(InvalidInput, match=r"expected features feature_0000, .* and 480 more; got other_0") as caught:
        rows(WIDE, (unread() for _ in range(COUNT)), COUNT, CLASSIFY, context, COUNT)
    assert len(caught.value.detail) < 2000


def test_more_examples_than_a_request_may_have_are_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="examples: expected at most 1999, got 2000"):
        rows(WIDE, [{}] * COUNT, COUNT, CLASSIFY, CONTEXT, COUNT - 1)
