"""The answers are right and the same over the pattern's own route, over HTTP in JSON and binary, over gRPC."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common import RELEASE
from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc import oip_pb2_grpc as pb_grpc
from tests.conformance.served import SECONDS, Served
from tests.oip import described, fits_json, from_binary, from_grpc, from_json, grpc_request
from tests.rows import Array

CLIENT = Path(__file__).parents[1] / "clients" / "triton.py"
TOLERANCE = 1e-4  # rows that are computed beside others differ in their last digits


@contextmanager
def connected(served: Served) -> Iterator[Any]:
    with grpc.insecure_channel(served.stack.grpc()) as channel:
        grpc.channel_ready_future(channel).result(10)
        yield channel


def assert_same(one: dict[str, Array], other: dict[str, Array]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        if array.dtype == object:
            assert array.tolist() == other[name].tolist()
        else:
            assert np.allclose(array, other[name], atol=TOLERANCE), name


def test_the_patterns_own_route_gives_the_right_answers(served: Served) -> None:
    for request in served.row.requests:
        served.answered(request)


def test_a_request_without_a_content_type_gets_the_same_answer(served: Served) -> None:
    for request in served.row.requests:
        response = served.ask("POST", request.path, content=request.content)
        assert "content-type" not in response.request.headers
        assert response.status_code == 200, f"{request.path}: {response.text}"
        request.check(response.json())


def test_callers_at_the_same_time_get_their_own_answers(served: Served) -> None:
    callers = served.row.callers
    asked = [served.row.requests[number % len(served.row.requests)] for number in range(2 * callers)]
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(served.answered, asked))


def test_an_inference_over_http_is_right_in_json_and_in_binary(served: Served) -> None:
    inference = served.row.inference
    binary = from_binary(served.infer_binary())
    inference.check(binary)
    assert_same(binary, from_binary(served.infer_binary(f"/v2/models/{inference.model}/versions/1/infer")))
    assert_same(binary, from_binary(served.infer_binary(f"{served.infer_path}/")))
    if fits_json(inference.inputs()):
        response = served.infer_json()
        assert (response.json()["model_name"], response.json()["model_version"]) == (inference.model, "1")
        assert_same(binary, from_json(response))


def test_only_the_outputs_that_are_asked_for_come(served: Served) -> None:
    if not fits_json(served.row.inference.inputs()):
        pytest.skip("its input does not fit JSON")
    everything = from_json(served.infer_json())
    one = sorted(everything)[0]
    body = json.loads(served.infer_json().request.content) | {"outputs": [{"name": one}], "id": "seven"}
    response = served.infer_json(body)
    assert response.json()["id"] == "seven"
    assert_same({one: everything[one]}, from_json(response))


def test_the_server_and_its_model_describe_themselves_over_http(served: Served) -> None:
    model = served.row.inference.model
    server = {"name": "serving-patterns", "version": RELEASE, "extensions": ["binary_tensor_data"]}
    for path, answer in {
        "/v2": server,
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
        f"/v2/models/{model}/ready": {"name": model, "ready": True},
        f"/v2/models/{model}/versions/1/ready": {"name": model, "ready": True},
    }.items():
        for slash in ("", "/"):
            assert served.get(path + slash).json() == answer
    assert model in served.get("/v2/models").json()["models"]
    told = served.get(f"/v2/models/{model}").json()
    assert (told["name"], told["versions"]) == (model, ["1"])
    inputs = {name: described(name, array)["datatype"] for name, array in served.row.inference.inputs().items()}
    assert {one["name"]: one["datatype"] for one in told["inputs"]} == inputs
    assert {one["name"] for one in told["outputs"]} == set(from_binary(served.infer_binary()))


def test_grpc_gives_the_same_answers_and_descriptions(served: Served) -> None:
    model = served.row.inference.model
    with connected(served) as channel:
        stub: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(pb.ServerLiveRequest(), timeout=SECONDS).live
        assert stub.ServerReady(pb.ServerReadyRequest(), timeout=SECONDS).ready
        assert stub.ModelReady(pb.ModelReadyRequest(name=model), timeout=SECONDS).ready
        server = stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=SECONDS)
        assert (server.name, server.version) == ("serving-patterns", RELEASE)
        told = stub.ModelMetadata(pb.ModelMetadataRequest(name=model), timeout=SECONDS)
        over_http = served.get(f"/v2/models/{model}").json()
        tensors = [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in told.inputs]
        assert tensors == over_http["inputs"]
        asked = grpc_request(model, served.row.inference.inputs(), id="seven")
        response = stub.ModelInfer(asked, timeout=SECONDS)
        assert (response.model_name, response.model_version, response.id) == (model, "1", "seven")
        assert_same(from_binary(served.infer_binary()), from_grpc(response))


def test_the_standard_grpc_health_service_says_serving(served: Served) -> None:
    with connected(served) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", "inference.GRPCInferenceService"):
            found = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=SECONDS)
            assert found.status == health_pb2.HealthCheckResponse.SERVING


def test_grpc_refuses_an_unknown_model_and_a_tensor_of_another_name(served: Served) -> None:
    inputs = served.row.inference.inputs()
    renamed = {f"not_{name}": array for name, array in inputs.items()}
    cases = [
        (grpc_request("tulips", inputs), grpc.StatusCode.NOT_FOUND, "tulips"),
        (grpc_request(served.row.inference.model, renamed), grpc.StatusCode.INVALID_ARGUMENT, next(iter(inputs))),
    ]
    with connected(served) as channel:
        stub: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        for asked, code, says in cases:
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(asked, timeout=SECONDS)
            assert caught.value.code() == code
            assert says in str(caught.value.details())


def as_elements(array: Array) -> list[Any]:
    if array.dtype == object:
        return [base64.b64encode(one).decode() for one in array.reshape(-1)]
    return list(array.reshape(-1).tolist())


def test_tritonclient_works_unchanged_over_http_and_grpc(served: Served) -> None:
    inputs = served.row.inference.inputs()
    asked = {
        "model": served.row.inference.model,
        "inputs": [described(name, array) | {"data": as_elements(array)} for name, array in inputs.items()],
        "as_json": fits_json(inputs),
    }
    command = [sys.executable, str(CLIENT), urlsplit(served.url).netloc, served.stack.grpc()]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    expected = from_binary(served.infer_binary())
    for way, answer in json.loads(done.stdout).items():
        assert answer["alive"] == [True, True, True], way
        assert answer["extensions"] == ["binary_tensor_data"], way
        assert answer["inputs"] == list(inputs), way
        assert answer["model"] == [served.row.inference.model, "1", "seven"], way
        found = {name: np.array(answer["outputs"][name], array.dtype) for name, array in expected.items()}
        assert_same(expected, found)
