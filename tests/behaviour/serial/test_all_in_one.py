"""The twin, all models in one process, is the same pipeline: it gives the same answer to the last digit."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from common.protocol.oip import BINARY, HEADER_LENGTH
from runtimes.base import Stack
from tests.asking.serial import encoded, picture, post, sample
from tests.conftest import Start


@pytest.fixture(scope="module")
def chain(start_shared: Start) -> Stack:
    return start_shared("serial")


@pytest.fixture(scope="module")
def twin(start_shared: Start) -> Stack:
    return start_shared("serial", "all_in_one")


@pytest.mark.parametrize("name", ["invoice_turned.jpg", "page.jpg"])
def test_it_answers_exactly_as_the_chain_does(chain: Stack, twin: Stack, name: str) -> None:
    answers: list[Any] = [post(stack.url(), sample(name)).json() for stack in (chain, twin)]
    assert answers[0]["lines"]
    assert answers[0] == answers[1]


def test_it_refuses_what_the_chain_refuses(chain: Stack, twin: Stack) -> None:
    cut = encoded(picture("page.jpg"))[:5000]
    answers = [post(stack.url(), cut) for stack in (chain, twin)]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]


def test_its_models_answer_over_the_protocol_as_well(http: httpx.Client, twin: Stack) -> None:
    assert http.get(f"{twin.url()}/v2/models").json()["models"] == [
        "page_orientation",
        "text_detection",
        "text_recognition",
        "text_recognition_heavy",
        "serial",
    ]
    square = {"name": "image", "shape": [1, 224, 224, 3], "datatype": "UINT8", "data": [255] * (224 * 224 * 3)}
    answer = http.post(f"{twin.url()}/v2/models/page_orientation/infer", json={"inputs": [square]})
    (probabilities,) = answer.json()["outputs"]
    assert sum(probabilities["data"]) == pytest.approx(1, abs=1e-4)


def test_the_model_serial_answers_over_the_protocol_as_the_chain_does(
    http: httpx.Client, chain: Stack, twin: Stack
) -> None:
    file = sample("page.jpg")
    element = len(file).to_bytes(4, "little") + file
    image = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(element)}}
    header = json.dumps({"inputs": [image]}).encode()
    headers = {"Content-Type": BINARY, HEADER_LENGTH: str(len(header))}
    answers, described = [], []
    for stack in (chain, twin):
        url = f"{stack.url()}/v2/models/serial"
        answers.append(http.post(f"{url}/infer", content=header + element, headers=headers).json())
        told = http.get(url).json()
        described.append({name: told[name] for name in ("name", "versions", "inputs", "outputs", "properties")})
    assert answers[0]["outputs"]
    assert answers[0] == answers[1]
    assert described[0] == described[1]
