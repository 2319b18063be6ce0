"""Whatever is wrong with a request costs its 4xx, which says what was wrong and what was expected, and harms nobody."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from runtimes.base import Stack
from tests.conftest import Start
from tests.support import INFER, SETOSA, SETOSA_BY_NAME, labels, metric, question

HEADER_LENGTH = "Inference-Header-Content-Length"
TIMEOUT = "X-Request-Timeout-Seconds"
SIZE = 65_000_000


@dataclass(frozen=True)
class Case:
    """A request (JSON is sent as it stands when it is bytes), its status, and what the error must say."""

    body: Any
    status: int
    says: tuple[str, ...]
    path: str = INFER
    headers: dict[str, str] = field(default_factory=dict)


def tensor(shape: Any = (1, 4), data: Any = tuple(SETOSA), **rest: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "features", "shape": shape, "datatype": "FP32", "data": data, **rest}]}


def raw(data: str, shape: str = "[1, 4]") -> bytes:
    text = f'{{"inputs": [{{"name": "features", "shape": {shape}, "datatype": "FP32", "data": {data}}}]}}'
    return text.encode()


def binary(floats: list[float], shape: Any = (1, 4), size: Any = None, header: str = "", **rest: Any) -> Case:
    """A request with a binary tensor; `size` and `header` replace what they would truthfully be."""
    data = struct.pack(f"<{len(floats)}f", *floats)
    stated = len(data) if size is None else size
    described = {"name": "features", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": stated}}
    head = json.dumps({"inputs": [described | rest]}).encode()
    return Case(head + data, 400, (), headers={HEADER_LENGTH: header or str(len(head))})


def saying(case: Case, *says: str) -> Case:
    return Case(case.body, case.status, says, case.path, case.headers)


GOOD = question(SETOSA)
ROW = SETOSA_BY_NAME
PREDICT = "/predict"

CASES = {
    # what is sent is not JSON, or not the JSON of a request
    "empty body": Case(b"", 400, ("body", "not valid JSON")),
    "cut JSON": Case(b'{"inputs": [', 400, ("body", "not valid JSON")),
    "JSON then more": Case(json.dumps(GOOD).encode() + b"}", 400, ("body", "not valid JSON")),
    "not UTF-8": Case(b'{"inputs": [{"name": "\xff"}]}', 400, ("not valid JSON",)),
    "half a surrogate pair": Case(b'{"inputs": [{"name": "\\ud800"}]}', 400, ("not valid JSON",)),
    "a list": Case([], 400, ("expected `object`, got `array`",)),
    "null": Case(b"null", 400, ("expected `object`, got `null`",)),
    "nested without end": Case(raw("[" * 100_000 + "]" * 100_000), 400, ("body", "not valid JSON")),
    "no inputs": Case({}, 400, ("inputs",)),
    "inputs of null": Case({"inputs": None}, 400, ("inputs", "expected `array`")),
    "empty inputs": Case({"inputs": []}, 400, ("inputs", "'features'")),
    "no datatype": Case({"inputs": [{"name": "features", "shape": [1, 4], "data": SETOSA}]}, 400, ("datatype",)),
    "id of a number": Case({**GOOD, "id": 7}, 400, ("id", "expected `str", "got `int`")),
    # names
    "wrong input name": Case(tensor(name="measures"), 400, ("inputs", "expected 'features'", "measures")),
    "input twice": Case({"inputs": GOOD["inputs"] * 2}, 400, ("inputs[1].name", "twice")),
    "input too many": Case(
        {"inputs": [*GOOD["inputs"], *tensor(name="more")["inputs"]]}, 400, ("inputs", "expected 'features'", "more")
    ),
    "unknown output": Case({**GOOD, "outputs": [{"name": "colour"}]}, 400, ("outputs", "colour", "probabilities")),
    # shapes
    "wrong width": Case(tensor((1, 3), SETOSA[:3]), 400, ("inputs[0].shape", "[-1, 4]", "[1, 3]")),
    "wrong rank": Case(tensor((4,)), 400, ("inputs[0].shape", "[-1, 4]", "[4]")),
    "no rank": Case(tensor((), [5.1]), 400, ("inputs[0].shape", "[-1, 4]", "[]")),
    "too few values": Case(tensor((2, 4)), 400, ("inputs[0].data", "8 values", "got 4")),
    "too many values": Case(tensor((1, 4), SETOSA * 2), 400, ("inputs[0].data", "4 values", "got 8")),
    "negative dimension": Case(tensor((-1, 4)), 400, ("inputs[0]", "[-1, 4]")),
    "dimension of a fraction": Case(tensor((1.5, 4)), 400, ("inputs[0].shape", "expected `int`")),
    "dimension of a text": Case(tensor(("1", 4)), 400, ("inputs[0].shape", "expected `int`, got `str`")),
    "17 dimensions": Case(tensor([1] * 16 + [4]), 400, ("inputs[0].shape", "16 dimensions")),
    "dimension beyond 64 bits": Case(tensor((0, 2**70), []), 400, ("inputs[0].shape", str(2**70))),
    "dimensions beyond 64 bits": Case(tensor((0, 2**62, 2**62), []), 400, ("inputs[0].shape", str(2**62))),
    "ragged rows": Case(tensor((2, 4), [SETOSA, SETOSA[:3]]), 400, ("inputs[0].data", "expected rows of equal length")),
    "nested otherwise": Case(tensor((2, 4), [SETOSA[:2]] * 4), 400, ("inputs[0].data", "[2, 4]")),
    # datatypes
    "unknown datatype": Case(tensor(datatype="FLOAT"), 400, ("inputs[0].datatype", "FP32", "'FLOAT'")),
    "other datatype": Case(tensor(datatype="FP64"), 400, ("inputs[0].datatype", "expected FP32", "FP64")),
    "FP16 as JSON": Case(tensor(datatype="FP16"), 400, ("inputs[0].datatype", "binary")),
    "BYTES": Case(tensor((4,), ["a", "b", "c", "d"], datatype="BYTES"), 400, ("inputs[0].datatype", "expected FP32")),
    "texts for numbers": Case(tensor(data=["5.1", "3.5", "1.4", "0.2"]), 400, ("inputs[0].data", "`str`")),
    "true for a number": Case(tensor(data=[True, 3.5, 1.4, 0.2]), 400, ("inputs[0].data", "`bool`")),
    "null for a number": Case(tensor(data=[None, 3.5, 1.4, 0.2]), 400, ("inputs[0].data", "`null`", "missing: true")),
    "object for a number": Case(tensor(data=[{}, 3.5, 1.4, 0.2]), 400, ("inputs[0].data", "`object`")),
    "data of a text": Case(tensor(data="AAAA"), 400, ("inputs[0].data", "`array`")),
    "long texts for numbers": Case(
        tensor((10_000, 4), ["x" * 4_000] + ["y"] * 39_999), 400, ("inputs[0].data", "`str`")
    ),  # as an array of texts it would take 640 MB
    # values
    "NaN": Case(raw("[NaN, 1, 1, 1]"), 400, ("not valid JSON",)),
    "infinity": Case(raw("[Infinity, 1, 1, 1]"), 400, ("not valid JSON",)),
    "beyond FP64": Case(raw("[1e400, 1, 1, 1]"), 400, ("inputs[0].data", "out of range")),
    "beyond FP32": Case(raw("[1e39, 1, 1, 1]"), 400, ("inputs[0].data",)),
    "a number of 400 digits": Case(raw(f"[{'9' * 400}, 1, 1, 1]"), 400, ("inputs[0].data",)),
    # binary tensors
    "binary too short": saying(binary(SETOSA[:3]), "inputs[0].parameters.binary_data_size", "16 bytes", "got 12"),
    "binary too long": saying(binary([*SETOSA, 1.0]), "inputs[0].parameters.binary_data_size", "16 bytes", "got 20"),
    "binary left over": saying(binary([*SETOSA, 1.0], size=16), "expected 16 bytes of binary tensors", "got 20"),
    "binary size beyond the body": saying(binary(SETOSA, size=99), "binary_data_size", "99 bytes", "only 16 more"),
    "negative binary size": saying(binary(SETOSA, size=-16), "binary_data_size", "-16"),
    "binary size of a text": saying(binary(SETOSA, size="16"), "binary_data_size", "'16'"),
    "binary size of true": saying(binary(SETOSA, size=True), "binary_data_size", "True"),
    "binary and data": saying(binary(SETOSA, data=SETOSA), "inputs[0]", "got both"),
    "binary of a huge shape": saying(binary([], shape=(0, 2**62, 2**62)), "inputs[0].shape"),
    "header length beyond the body": saying(binary(SETOSA, header="9999"), HEADER_LENGTH, "9999"),
    "header length cuts the JSON": saying(binary(SETOSA, header="10"), "not valid JSON"),
    "header length of a text": saying(binary(SETOSA, header="many"), HEADER_LENGTH, "'many'"),
    "negative header length": saying(binary(SETOSA, header="-1"), HEADER_LENGTH, "'-1'"),
    "raw bytes of no whole row": Case(b"\0" * 17, 400, ("body", "multiple of 16", "17"), headers={HEADER_LENGTH: "0"}),
    "raw bytes of no row": Case(b"", 400, ("body", "multiple of 16"), headers={HEADER_LENGTH: "0"}),
    "neither data nor binary": Case(
        {"inputs": [{"name": "features", "shape": [1, 4], "datatype": "FP32"}]}, 400, ("inputs[0]", "got neither")
    ),
    # content type, path, deadline
    "content type of text": Case(GOOD, 415, ("application/json", "text/plain"), headers={"Content-Type": "text/plain"}),
    "content type of a form": Case(
        GOOD, 415, ("application/json", "multipart"), headers={"Content-Type": "multipart/form-data; boundary=x"}
    ),
    "binary without its header": Case(
        GOOD, 415, ("application/json", "octet-stream"), headers={"Content-Type": "application/octet-stream"}
    ),
    "unknown model": Case(GOOD, 404, ("'tulips'", "iris"), "/v2/models/tulips/infer"),
    "unknown version": Case(GOOD, 404, ("iris", "'7'", "1"), "/v2/models/iris/versions/7/infer"),
    "version of nothing": Case(GOOD, 404, (), "/v2/models/iris/versions//infer"),
    "version of a text": Case(GOOD, 404, ("'latest'",), "/v2/models/iris/versions/latest/infer"),
    "model of nothing": Case(GOOD, 404, (), "/v2/models//infer"),
    "a path upwards": Case(GOOD, 404, (), "/v2/models/..%2f..%2fetc/infer"),
    "a path that is no text": Case(GOOD, 404, (), "/v2/models/%ff%fe/infer"),
    "no such path": Case(GOOD, 404, ("no such path",), "/v2/model/iris/infer"),
    "deadline past": Case(GOOD, 400, (TIMEOUT, "passed"), headers={TIMEOUT: "0"}),
    "deadline long past": Case(GOOD, 400, (TIMEOUT, "passed"), headers={TIMEOUT: "-3.5"}),
    "deadline of a text": Case(GOOD, 400, (TIMEOUT, "'soon'"), headers={TIMEOUT: "soon"}),
    "deadline of no number": Case(GOOD, 400, (TIMEOUT, "'nan'"), headers={TIMEOUT: "nan"}),
    "deadline without end": Case(GOOD, 400, (TIMEOUT, "'inf'"), headers={TIMEOUT: "inf"}),
    # POST /predict
    "predict: cut JSON": Case(b'{"instances": [', 400, ("not valid JSON",), PREDICT),
    "predict: NaN": Case(b'{"instances": [{"sepal_length": NaN}]}', 400, ("not valid JSON",), PREDICT),
    "predict: no instances": Case({}, 400, ("instances",), PREDICT),
    "predict: a list": Case([ROW], 400, ("expected `object`, got `array`",), PREDICT),
    "predict: rows without names": Case({"instances": [SETOSA]}, 400, ("instances[0]", "`object`"), PREDICT),
    "predict: row of null": Case({"instances": [ROW, None]}, 400, ("instances[1]", "`object`"), PREDICT),
    "predict: beyond FP32": Case({"instances": [ROW | {"sepal_width": 1e39}]}, 400, ("instances", "FP32"), PREDICT),
    "predict: a wrong name": Case(
        {"instances": [{"length": 1.0, **dict(list(ROW.items())[1:])}]}, 400, ("length", "sepal_length"), PREDICT
    ),
    "compressed": Case(b"\x1f\x8b", 415, ("Content-Encoding", "gzip"), headers={"Content-Encoding": "gzip"}),
    "predict: content type": Case({}, 415, ("application/json",), PREDICT, {"Content-Type": "text/csv"}),
    "predict: deadline past": Case({"instances": [ROW]}, 400, (TIMEOUT,), PREDICT, {TIMEOUT: "0"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Iterator[Stack]:
    stack = start_shared("web_single")
    yield stack
    assert metric(stack.url(), "serving_requests_total", code="500") == 0


def send(http: httpx.Client, stack: Stack, case: Case) -> httpx.Response:
    content = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    headers = {"Content-Type": "application/json", **case.headers}
    return http.post(stack.url() + case.path, content=content, headers=headers)


def said(answer: httpx.Response) -> str:
    """The error's text, in the form that the protocol of the path has for it."""
    body = answer.json()
    if answer.url.path.startswith("/v2"):
        assert body.keys() == {"error"}
        return str(body["error"])
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert all(one["field"] and one["reason"] for one in body.get("errors", []))
    return str(body["detail"])


def assert_unharmed(http: httpx.Client, stack: Stack) -> None:
    assert http.get(f"{stack.url()}/readyz").status_code == 200
    assert labels(http.post(stack.url() + INFER, json=GOOD).json()) == [0]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_bad_request_costs_its_4xx_and_harms_nobody(http: httpx.Client, stack: Stack, case: Case) -> None:
    answer = send(http, stack, case)
    assert answer.status_code == case.status, answer.text
    text = said(answer)
    assert text
    for part in case.says:
        assert part in text
    assert_unharmed(http, stack)


@pytest.mark.parametrize("path", [INFER, PREDICT])
@pytest.mark.parametrize("chunked", [False, True], ids=["length stated", "chunked"])
def test_a_body_of_65_mb_is_refused(http: httpx.Client, stack: Stack, path: str, chunked: bool) -> None:
    megabyte = b" " * 1_000_000
    content: Any = (megabyte for _ in range(SIZE // len(megabyte))) if chunked else megabyte * 65
    answer = http.post(stack.url() + path, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert "expected at most 64000000 bytes" in said(answer)
    assert_unharmed(http, stack)


@pytest.mark.parametrize(("megabytes", "statuses"), [(60, {413}), (7.9, {400, 413})])  # 413 for too many rows
@pytest.mark.parametrize("item", ["[],", "{},", "1,"])
def test_json_of_many_small_things_does_not_eat_the_memory(
    http: httpx.Client, stack: Stack, item: str, megabytes: float, statuses: set[int]
) -> None:
    data = "[" + item * int(megabytes * 1_000_000 / len(item)) + item[:-1] + "]"
    for path, content in ((INFER, raw(data)), (PREDICT, b'{"instances": ' + data.encode() + b"}")):
        answer = http.post(stack.url() + path, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in statuses
        assert said(answer)
        assert_unharmed(http, stack)
