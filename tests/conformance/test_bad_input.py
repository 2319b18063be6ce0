"""A wrong request costs its 4xx, which names what was wrong, and harms nobody else."""

from __future__ import annotations

import copy
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conformance.served import Served
from tests.oip import fits_json, json_inputs
from tests.rows import JSON

TOO_LARGE = 65_000_001
FEW_BYTES = 65_536  # of named values, which some routes take no more of
MALFORMED = {
    "empty": b"",
    "cut": b'{"inputs": [',
    "more behind it": b"{}}",
    "not UTF-8": b'{"inputs": "\xff"}',
    "a list": b"[]",
    "null": b"null",
    "NaN": b'{"inputs": [NaN]}',
    "nested without end": b"[" * 100_000 + b"]" * 100_000,
}


@pytest.fixture(autouse=True)
def unharmed(served: Served) -> Iterator[None]:
    """Whatever a test sends, the next caller is answered and no request has failed inside."""
    yield
    served.answered(served.row.requests[0])
    assert served.get("/readyz").status_code == 200
    assert served.counted(served.row.answering, "serving_requests_total", code="500") == 0


def said(response: httpx.Response) -> str:
    """The text of an error, in the form that the protocol of the path has for it."""
    body = response.json()
    if response.url.path.startswith("/v2"):
        assert body.keys() == {"error"}
        return str(body["error"])
    assert response.headers["Content-Type"] == "application/problem+json"
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert all(one["field"] and one["reason"] for one in body.get("errors", []))
    return str(body["detail"])


def test_every_wrong_request_of_the_table_is_refused_and_names_its_field(served: Served) -> None:
    for wrong in served.row.wrong:
        response = served.send(wrong)
        assert response.status_code == wrong.status, f"{wrong.name}: {response.text}"
        assert wrong.field in said(response), wrong.name
        named = [one["field"] for one in response.json()["errors"]]
        assert any(field.startswith(wrong.field) for field in named), f"{wrong.name}: {named}"


def test_what_is_not_json_is_refused(served: Served) -> None:
    first = served.row.requests[0]
    paths = [served.infer_path, *([first.path] if first.content_type == JSON else [])]
    for path in paths:
        for name, content in MALFORMED.items():
            response = served.ask("POST", path, content=content, headers={"Content-Type": JSON})
            # what is long may be refused for its size before it is read
            refused = (400, 413) if len(content) > FEW_BYTES else (400,)
            assert response.status_code in refused, f"{path}, {name}: {response.text}"
            assert said(response)


def test_an_empty_body_is_refused(served: Served) -> None:
    for request in served.row.requests:
        response = served.ask("POST", request.path, content=b"", headers={"Content-Type": request.content_type})
        assert response.status_code == 400
        assert said(response)


def changes(tensor: dict[str, Any]) -> dict[str, tuple[dict[str, Any], str]]:
    """Wrong tensors out of a right one, and what the refusal has to name."""
    numbers = (300, -1, 1.7) if tensor["datatype"] == "BYTES" else ()
    return {
        **{f"{one} for a text": (tensor | {"data": [one, *tensor["data"][1:]]}, "inputs[0].data") for one in numbers},
        "another name": (tensor | {"name": "measures"}, f"'{tensor['name']}'"),
        "unknown datatype": (tensor | {"datatype": "FLOAT"}, "datatype"),
        "another datatype": (tensor | {"datatype": "FP64"}, "inputs[0]"),
        "one dimension more": (tensor | {"shape": [*tensor["shape"], 1]}, "inputs[0]"),
        "a negative dimension": (tensor | {"shape": [-1, *tensor["shape"][1:]]}, "inputs[0]"),
        "too few values": (tensor | {"data": tensor["data"][:-1]}, "inputs[0].data"),
        "null for a value": (tensor | {"data": [None, *tensor["data"][1:]]}, "inputs[0].data"),
        "neither data nor binary": ({name: tensor[name] for name in ("name", "shape", "datatype")}, "inputs[0]"),
    }


def right_tensor(served: Served) -> dict[str, Any]:
    """A tensor that is right, or where the row's own does not fit JSON, one of a text."""
    inputs = served.row.inference.inputs()
    if fits_json(inputs):
        return dict(json_inputs(inputs)["inputs"][0])
    return {"name": next(iter(inputs)), "datatype": "BYTES", "shape": [1], "data": ["text"]}


def test_a_wrong_tensor_is_refused_by_its_name(served: Served) -> None:
    right = right_tensor(served)
    for name, (tensor, says) in changes(right).items():
        response = served.infer_json({"inputs": [tensor]})
        assert response.status_code == 400, f"{name}: {response.text}"
        assert says in said(response), name
    twice = served.infer_json({"inputs": [right, copy.deepcopy(right)]})
    assert (twice.status_code, "twice" in said(twice)) == (400, True)


def test_an_unknown_output_or_version_or_model_is_refused(served: Served) -> None:
    model = served.row.inference.model
    body = {"inputs": [right_tensor(served)]}
    response = served.infer_json(body | {"outputs": [{"name": "colour"}]})
    assert (response.status_code, "colour" in said(response)) == (400, True)
    for path in ("/v2/models/tulips/infer", f"/v2/models/{model}/versions/7/infer", "/v2/models//infer"):
        assert served.infer_json(body, path).status_code == 404
    for path in ("/v2/models/tulips", "/v2/models/tulips/ready", f"/v2/models/{model}/versions/7"):
        response = served.get(path)
        assert response.status_code == 404
        assert response.json().keys() == {"error"}
    assert "tulips" in said(served.get("/v2/models/tulips"))


def test_another_content_type_is_refused(served: Served) -> None:
    for path in (served.infer_path, served.row.requests[0].path):
        for media in ("text/plain", "multipart/form-data; boundary=x"):
            response = served.ask("POST", path, content=b"{}", headers={"Content-Type": media})
            assert response.status_code == 415
            assert media.partition("/")[0] in said(response) or "JPEG" in said(response)
    response = served.ask("POST", served.infer_path, content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert response.status_code == 415


def test_a_wrong_method_or_path_says_what_there_is(served: Served) -> None:
    own = served.row.requests[0].path
    for method, path, status, allowed in (
        ("GET", served.infer_path, 405, "POST"),
        ("DELETE", own, 405, "POST"),
        ("PUT", own, 405, "POST"),
        ("POST", "/readyz", 405, "GET"),
        ("GET", "/nowhere", 404, ""),
        ("POST", "/faults", 404, ""),
        ("POST", "/v2/models/..%2f..%2fetc/infer", 404, ""),
    ):
        response = served.ask(method, path)
        assert (response.status_code, response.headers.get("Allow", "")) == (status, allowed), f"{method} {path}"
        assert said(response)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(served: Served) -> None:
    for path, media in ((served.infer_path, JSON), (served.row.requests[0].path, served.row.requests[0].content_type)):
        with socket.create_connection(served.address, timeout=10) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media}\r\nContent-Length: {TOO_LARGE}\r\n\r\n{{"
            connection.sendall(head.encode())
            if served.balanced:  # a balancer passes on the body before it has an answer
                send_zeros(connection, TOO_LARGE - 1)
            assert connection.recv(100).startswith(b"HTTP/1.1 413")


def send_zeros(connection: socket.socket, count: int) -> None:
    try:
        while count > 0:
            count -= connection.send(bytes(min(count, 1_000_000)))
    except OSError:  # refused before it was all there
        return


def test_what_is_not_http_is_refused(served: Served) -> None:
    for content in (b"NONSENSE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 99):
        with socket.create_connection(served.address, timeout=10) as connection:
            connection.sendall(content)
            status = connection.recv(100)
            allowed = (b"HTTP/1.1 400", b"HTTP/1.1 505") if served.balanced else (b"HTTP/1.1 400",)
            assert status.startswith(allowed), content


def test_an_error_in_json_names_the_request(served: Served) -> None:
    response = served.ask("POST", served.infer_path, content=b"{", headers={"X-Request-ID": "order-66"})
    assert response.headers["X-Request-ID"] == "order-66"
    assert json.loads(response.content)
