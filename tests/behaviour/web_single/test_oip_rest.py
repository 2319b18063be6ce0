"""The Open Inference Protocol over HTTP: every path of it, with and without a slash at the end, JSON and binary."""

from __future__ import annotations

import json
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


def test_an_inference_tells_where_its_time_went(client: httpx.Client) -> None:
    timing = client.post(INFER, json=question(SETOSA)).headers["Server-Timing"]
    assert [stage.partition(";")[0] for stage in timing.split(", ")] == ["decode", "queue", "infer", "encode", "total"]


def test_metadata_tells_service_release_model_and_routes(client: httpx.Client) -> None:
    answer = client.get("/metadata").json()
    assert (answer["pattern"], answer["service"], answer["release"]) == ("web_single", "api", RELEASE)
    assert answer["model"]["name"] == "iris"
    assert answer["model"]["labels"] == ["setosa", "versicolor", "virginica"]
    assert {"/predict", "/v2/models/{model}/infer", "/readyz"} <= set(answer["routes"])
