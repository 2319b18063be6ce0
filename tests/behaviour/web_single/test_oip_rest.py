"""The Open Inference Protocol over HTTP: every path of it, with and without a slash at the end, JSON and binary."""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import httpx
import numpy as np
import pytest

from common import RELEASE
from runtimes.base import Stack
from tests.conftest import Start
from tests.support import INFER, SETOSA, SETOSA_BY_NAME, VIRGINICA, labels, question

HEADER_LENGTH = "Inference-Header-Content-Length"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PROBABILITIES = {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}
LABEL = {"name": "label", "datatype": "INT64", "shape": [-1]}


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("web_single")


@pytest.fixture
def client(stack: Stack) -> Any:
    with httpx.Client(base_url=stack.url(), timeout=10) as client:
        yield client


slash = pytest.mark.parametrize("slash", ["", "/"], ids=["", "with a slash"])
version = pytest.mark.parametrize("version", ["", "/versions/1"], ids=["newest", "by version"])


@slash
@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v2", {"name": "serving-patterns", "version": RELEASE, "extensions": ["binary_tensor_data"]}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models", {"models": ["iris"]}),
        ("/v2/models/iris/ready", {"name": "iris", "ready": True}),
        ("/v2/models/iris/versions/1/ready", {"name": "iris", "ready": True}),
    ],
)
def test_the_server_and_its_models_tell_of_themselves(
    client: httpx.Client, path: str, answer: dict[str, Any], slash: str
) -> None:
    got = client.get(path + slash)
    assert got.status_code == 200
    assert got.json() == answer


@slash
@version
def test_metadata_names_every_tensor_with_its_free_dimension(client: httpx.Client, version: str, slash: str) -> None:
    told = client.get(f"/v2/models/iris{version}{slash}").json()
    properties = told.pop("properties")
    assert json.loads(properties["features"]) == list(SETOSA_BY_NAME)
    assert json.loads(properties["labels"]) == ["setosa", "versicolor", "virginica"]
    assert properties["preprocessing_fingerprint"].startswith("sha256:")
    assert told == {
        "name": "iris",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [PROBABILITIES, LABEL],
    }


@slash
def test_the_index_lists_what_is_loaded(client: httpx.Client, slash: str) -> None:
    answer = client.post(f"/v2/repository/index{slash}", json={})
    assert answer.json() == [{"name": "iris", "version": "1", "state": "READY", "reason": ""}]


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_loading_and_unloading_are_off_until_a_setting_allows_them(client: httpx.Client, verb: str) -> None:
    answer = client.post(f"/v2/repository/models/iris/{verb}")
    assert answer.status_code == 403
    assert "MODEL_CONTROL" in answer.json()["error"]
    assert client.get("/v2/models/iris/ready").status_code == 200


@pytest.mark.parametrize("path", ["/v2/models/tulips", "/v2/models/iris/versions/7"])
@pytest.mark.parametrize("tail", ["", "/ready"])
def test_an_unknown_model_or_version_is_404(client: httpx.Client, path: str, tail: str) -> None:
    answer = client.get(path + tail)
    assert answer.status_code == 404
    assert answer.json().keys() == {"error"}


@slash
@version
def test_rows_are_inferred_in_order(client: httpx.Client, version: str, slash: str) -> None:
    answer = client.post(f"/v2/models/iris{version}/infer{slash}", json=question(SETOSA, VIRGINICA)).json()
    assert answer.keys() == {"model_name", "model_version", "outputs"}  # what was not asked for is left out
    assert (answer["model_name"], answer["model_version"]) == ("iris", "1")
    probabilities, label = answer["outputs"]
    assert probabilities | {"data": []} == PROBABILITIES | {"shape": [2, 3], "data": []}
    assert np.reshape(probabilities["data"], (2, 3)).argmax(axis=1).tolist() == [0, 2]
    assert label == LABEL | {"shape": [2], "data": [0, 2]}


def test_the_id_is_echoed(client: httpx.Client) -> None:
    for given in ("seven", "", "é\n"):
        assert client.post(INFER, json=question(SETOSA, id=given)).json()["id"] == given


def test_nested_and_flat_data_are_the_same(client: httpx.Client) -> None:
    nested = question(SETOSA, VIRGINICA)
    nested["inputs"][0]["data"] = [SETOSA, VIRGINICA]
    flat = question(SETOSA, VIRGINICA)
    assert client.post(INFER, json=nested).json() == client.post(INFER, json=flat).json()


def test_whole_numbers_do_for_fractions_and_no_content_type_for_json(client: httpx.Client) -> None:
    answer = client.post(INFER, content=json.dumps(question([6, 3, 6, 2])).encode())
    assert labels(answer.json()) == [2]


@pytest.mark.parametrize("names", [["label"], ["probabilities"], ["label", "probabilities"]])
def test_only_the_outputs_asked_for_come(client: httpx.Client, names: list[str]) -> None:
    answer = client.post(INFER, json=question(SETOSA, outputs=[{"name": name} for name in names])).json()
    assert [output["name"] for output in answer["outputs"]] == names


def ask(
    client: httpx.Client, *, binary_input: bool, everything: bool | None, **each: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Infers SETOSA and VIRGINICA; the answer's JSON, and its outputs whether they came as JSON or as binary."""
    body, data = question(SETOSA, VIRGINICA), b""
    if everything is not None:
        body["parameters"] = {"binary_data_output": everything}
    if each:
        body["outputs"] = [{"name": name, "parameters": {"binary_data": wanted}} for name, wanted in each.items()]
    headers = {"Content-Type": "application/json"}
    if binary_input:
        tensor = body["inputs"][0]
        data = np.array(tensor.pop("data"), "<f4").tobytes()
        tensor["parameters"] = {"binary_data_size": len(data)}
        headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(json.dumps(body)))}
    answer = client.post(INFER, content=json.dumps(body).encode() + data, headers=headers)
    assert answer.status_code == 200, answer.text
    return unpack(answer)


def unpack(answer: httpx.Response) -> tuple[dict[str, Any], dict[str, Any]]:
    length = int(answer.headers.get(HEADER_LENGTH, len(answer.content)))
    assert (
        answer.headers["Content-Type"] == f"application/{'octet-stream' if HEADER_LENGTH in answer.headers else 'json'}"
    )
    head, rest = json.loads(answer.content[:length]), answer.content[length:]
    outputs = {}
    for output in head["outputs"]:
        if "data" in output:
            outputs[output["name"]] = output["data"]
            continue
        size = output["parameters"]["binary_data_size"]
        outputs[output["name"]] = np.frombuffer(
            rest[:size], {"FP32": "<f4", "INT64": "<i8"}[output["datatype"]]
        ).tolist()
        rest = rest[size:]
    assert rest == b""
    return head, outputs


def binary_in(head: dict[str, Any]) -> set[str]:
    return {output["name"] for output in head["outputs"] if "data" not in output}


@pytest.mark.parametrize("binary_input", [False, True], ids=["JSON in", "binary in"])
@pytest.mark.parametrize(
    ("everything", "each", "comes"),
    [
        (None, {}, set()),
        (False, {}, set()),
        (True, {}, {"probabilities", "label"}),
        (None, {"probabilities": True, "label": False}, {"probabilities"}),
        (False, {"probabilities": True, "label": True}, {"probabilities", "label"}),
        (True, {"probabilities": False, "label": True}, {"label"}),
    ],
)
def test_json_and_binary_mix_in_every_way(
    client: httpx.Client, binary_input: bool, everything: bool | None, each: dict[str, bool], comes: set[str]
) -> None:
    head, outputs = ask(client, binary_input=binary_input, everything=everything, **each)
    assert binary_in(head) == comes
    assert outputs["label"] == [0, 2]
    assert np.reshape(outputs["probabilities"], (2, 3)).sum(axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_raw_bytes_are_the_single_input_and_all_outputs_come_binary(client: httpx.Client) -> None:
    content = struct.pack("<8f", *SETOSA, *VIRGINICA)
    head, outputs = unpack(client.post(INFER, content=content, headers={HEADER_LENGTH: "0"}))
    assert binary_in(head) == {"probabilities", "label"}
    assert outputs["label"] == [0, 2]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/metadata"),
        ("GET", "/v2"),
        ("GET", "/v2/models/tulips"),
        ("GET", "/nowhere"),
        ("POST", "/livez"),
        ("POST", INFER),
        ("GET", INFER),
        ("POST", "/predict"),
        ("POST", "/v2/repository/models/iris/load"),
    ],
)
def test_every_answer_bears_request_id_trace_and_timing(client: httpx.Client, method: str, path: str) -> None:
    given = {"X-Request-ID": "order-66", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    answer = client.request(method, path, headers=given)
    assert answer.headers["X-Request-ID"] == "order-66"
    assert re.fullmatch(rf"00-{TRACE}-(?!00f067aa0ba902b7)[0-9a-f]{{16}}-01", answer.headers["traceparent"])
    assert re.search(r"total;dur=[0-9.]+$", answer.headers["Server-Timing"])


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", 'quote"'])
def test_an_id_that_is_not_safe_to_log_is_replaced(client: httpx.Client, given: str) -> None:
    answer = client.get("/livez", headers={"X-Request-ID": given})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])


@pytest.mark.parametrize(
    "given", ["", "nonsense", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"ff-{TRACE}-00f067aa0ba902b7-01"]
)
def test_an_invalid_trace_starts_a_new_one(client: httpx.Client, given: str) -> None:
    answer = client.get("/livez", headers={"traceparent": given})
    found = re.fullmatch(r"00-([0-9a-f]{32})-[0-9a-f]{16}-0[01]", answer.headers["traceparent"])
    assert found
    assert found[1] not in (TRACE, "0" * 32)


def test_an_inference_tells_where_its_time_went(client: httpx.Client) -> None:
    timing = client.post(INFER, json=question(SETOSA)).headers["Server-Timing"]
    assert [stage.partition(";")[0] for stage in timing.split(", ")] == ["decode", "queue", "infer", "encode", "total"]


def test_metadata_tells_service_release_model_and_routes(client: httpx.Client) -> None:
    answer = client.get("/metadata").json()
    assert (answer["pattern"], answer["service"], answer["release"]) == ("web_single", "api", RELEASE)
    assert answer["model"]["name"] == "iris"
    assert answer["model"]["labels"] == ["setosa", "versicolor", "virginica"]
    assert {"/predict", "/v2/models/{model}/infer", "/readyz"} <= set(answer["routes"])
