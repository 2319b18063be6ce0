"""Large requests: the same answers as small ones, and what does not fit the model is refused before it is decoded."""

from __future__ import annotations

import json
from time import thread_time
from typing import Any

import numpy as np
import pytest

from common.errors import InvalidInput, PayloadTooLarge
from common.protocol.oip_large import decode_large
from tests.unit.common.protocol.request_bodies import body, spec, tensor

FLOWERS = [spec("FP32", -1, 4)]
TEXTS = [spec("BYTES", -1)]
MOST_ROWS = 100_000
NEXT_TO_NOTHING = 0.4  # seconds of this thread on a busy machine; decoding the body takes a second and more


def binary(datatype: str, shape: list[int], raw: bytes, **parameters: Any) -> tuple[bytes, str]:
    described = {"name": "x", "datatype": datatype, "shape": shape}
    header = json.dumps(
        {"inputs": [{**described, "parameters": {"binary_data_size": len(raw), **parameters}}]}
    ).encode()
    return header + raw, str(len(header))


def listed(element: str, count: int) -> str:
    return "[" + ",".join([element] * count) + "]"


def request(data: str, datatype: str = "FP32", shape: str = "[1,4]", more: str = "") -> bytes:
    inputs = f'{{"name":"x","datatype":"{datatype}","shape":{shape},"data":{data}}}'
    return f'{{"inputs":[{inputs}]{more}}}'.encode()


@pytest.mark.parametrize("nested", [True, False])
def test_rows_of_numbers_are_read(nested: bool) -> None:
    rows = np.random.default_rng(1).normal(size=(40_000, 4)).astype(np.float32)
    data = rows.tolist() if nested else rows.reshape(-1).tolist()
    raw = body(tensor("FP32", [40_000, 4], data), id="7", outputs=[{"name": "y"}], parameters={"a": 1})
    decoded = decode_large(raw, None, FLOWERS, MOST_ROWS)
    assert np.array_equal(decoded.inputs["x"], rows)
    assert (decoded.id, decoded.parameters, [one.name for one in decoded.outputs]) == ("7", {"a": 1}, ["y"])


def test_text_with_quotes_and_commas_is_read() -> None:
    texts = ['a "quoted", text', "back\\slash", "\\", "", "é"] * 20_000
    raw = body(tensor("BYTES", [100_000], texts))
    assert [one.decode() for one in decode_large(raw, None, TEXTS, MOST_ROWS).inputs["x"]] == texts


def test_binary_rows_are_read() -> None:
    rows = np.random.default_rng(1).normal(size=(40_000, 4)).astype(np.float32)
    raw, length = binary("FP32", [40_000, 4], rows.tobytes())
    assert np.array_equal(decode_large(raw, length, FLOWERS, MOST_ROWS).inputs["x"], rows)
    assert np.array_equal(decode_large(rows.tobytes(), "0", FLOWERS, MOST_ROWS).inputs["x"], rows)


EMPTY_LISTS = f'{{"a":{listed("[]", 2_600_000)}}}'
MANY_INPUTS = listed('{"name":"x","shape":[],"datatype":""}', 200_000)
HOSTILE: dict[str, tuple[bytes, str | None, str]] = {
    "empty strings for numbers": (*binary("BYTES", [15_000_000], bytes(60_000_000)), "inputs[0].datatype"),
    "lists for numbers": (request(listed("[]", 2_600_000)), None, "inputs[0].data"),
    "numbers beyond the shape": (request(listed("0", 3_900_000)), None, "inputs[0].data"),
    "texts for numbers": (request(listed('""', 2_600_000), "BYTES"), None, "inputs[0].datatype"),
    "another name": (request(listed("0", 3_900_000)).replace(b'"x"', b'"y"'), None, "inputs"),
    "another shape": (request(listed("0", 3_900_000), shape="[4,4]"), None, "inputs[0].data"),
    "a long shape": (request("[0]", shape=listed("1", 3_900_000)), None, "inputs[0]"),
    "many parameters": (request("[0]", more=f',"parameters":{EMPTY_LISTS}'), None, "parameters"),
    "parameters twice": (request("[0]", more=f',"parameters":{EMPTY_LISTS},"parameters":{{}}'), None, "inputs[0].data"),
    "many inputs": (f'{{"inputs":{MANY_INPUTS}}}'.encode(), None, "inputs"),
}


@pytest.mark.parametrize(("raw", "length", "field"), HOSTILE.values(), ids=HOSTILE)
def test_what_does_not_fit_the_model_is_refused_for_next_to_nothing(raw: bytes, length: str | None, field: str) -> None:
    start = thread_time()
    with pytest.raises(InvalidInput) as caught:
        decode_large(raw, length, FLOWERS, MOST_ROWS)
    assert thread_time() - start < NEXT_TO_NOTHING
    assert caught.value.fields[0].field.startswith(field)


def test_texts_beyond_the_shape_are_refused() -> None:
    with pytest.raises(InvalidInput, match="expected 1 values"):
        decode_large(request(listed('""', 1_000_000), "BYTES", "[1]"), None, TEXTS, MOST_ROWS)
    with pytest.raises(InvalidInput, match="at least 4 bytes for each of 100000"):
        decode_large(*binary("BYTES", [100_000], bytes(70_000)), TEXTS, MOST_ROWS)


@pytest.mark.parametrize("length", ["0", "header"])
def test_more_rows_than_a_request_may_have_are_refused(length: str) -> None:
    rows = bytes(16 * (MOST_ROWS + 1))
    raw, header = binary("FP32", [MOST_ROWS + 1, 4], rows)
    with pytest.raises(PayloadTooLarge, match="expected at most 100000 rows, got 100001"):
        decode_large(*((rows, "0") if length == "0" else (raw, header)), FLOWERS, MOST_ROWS)
