"""The proxy is a model itself: NVIDIA's client for the protocol has pages read by it, over HTTP and gRPC."""

from __future__ import annotations

import json

import httpx
import pytest

from common.protocol.oip import BINARY, HEADER_LENGTH
from runtimes.base import Stack
from tests.asking.serial import sample
from tests.conftest import Start


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("serial")


def infer(http: httpx.Client, stack: Stack, file: bytes) -> httpx.Response:
    element = len(file).to_bytes(4, "little") + file
    image = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(element)}}
    header = json.dumps({"inputs": [image]}).encode()
    headers = {"Content-Type": BINARY, HEADER_LENGTH: str(len(header))}
    return http.post(f"{stack.url()}/v2/models/serial/infer", content=header + element, headers=headers)


def test_its_answer_tells_the_release_of_the_models_and_the_turn(http: httpx.Client, stack: Stack) -> None:
    answer = infer(http, stack, sample("invoice_turned.jpg")).json()
    assert (answer["model_name"], answer["model_version"]) == ("serial", "1")
    assert answer["parameters"] == {"model_release": "1", "turned": 90, "uncertain": 0}


def test_what_is_no_picture_is_refused_there_too(http: httpx.Client, stack: Stack) -> None:
    answer = infer(http, stack, b"Total: 1,249.50 EUR")
    assert answer.status_code == 415
    assert "JPEG" in answer.json()["error"]


def test_its_metadata_says_what_it_takes_and_gives(http: httpx.Client, stack: Stack) -> None:
    told = http.get(f"{stack.url()}/v2/models/serial").json()
    assert told["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [1]}]
    assert [output["name"] for output in told["outputs"]] == ["texts", "confidences", "boxes", "read_by"]
