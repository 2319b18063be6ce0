"""The proxy is a model itself: NVIDIA's client for the protocol has pages read by it, over HTTP and gRPC."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from common.protocol.oip import BINARY, HEADER_LENGTH
from runtimes.base import Stack
from tests.asking.serial import SAMPLES, encoded, read, sample
from tests.conftest import Start

SCRIPT = Path(__file__).parents[2] / "clients" / "triton_page.py"


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("serial")


def asked(stack: Stack, file: Path) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPT), urlsplit(stack.url()).netloc, stack.grpc(), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_tritonclient_reads_a_page_as_the_friendly_route_does(stack: Stack) -> None:
    lines = read(stack.url(), sample("page.jpg"))["lines"]
    for answer in asked(stack, SAMPLES / "page.jpg").values():
        assert answer["alive"] == [True, True, True]
        assert answer["texts"] == [line["text"] for line in lines]
        assert answer["read_by"] == [line["read_by"] for line in lines]
        assert answer["boxes"] == [line["box"] for line in lines]
        assert answer["confidences"] == pytest.approx([line["confidence"] for line in lines], abs=1e-6)


def test_tritonclient_takes_a_page_without_text(stack: Stack, tmp_path: Path) -> None:
    blank = tmp_path / "blank.png"
    blank.write_bytes(encoded(Image.new("RGB", (300, 200), (255, 255, 255))))
    for answer in asked(stack, blank).values():
        assert (answer["texts"], answer["shape"]) == ([], [0, 4])


def infer(http: httpx.Client, stack: Stack, file: bytes) -> httpx.Response:
    element = len(file).to_bytes(4, "little") + file
    image = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(element)}}
    header = json.dumps({"inputs": [image]}).encode()
    headers = {"Content-Type": BINARY, HEADER_LENGTH: str(len(header))}
    return http.post(f"{stack.url()}/v2/models/serial/infer", content=header + element, headers=headers)


def test_its_answer_tells_the_release_of_the_models_and_the_turn(http: httpx.Client, stack: Stack) -> None:
    answer = infer(http, stack, sample("invoice_turned.jpg")).json()
    assert (answer["model_name"], answer["model_version"]) == ("serial", "1")
    assert answer["parameters"] == {"model_release": "1", "turned": 90}


def test_what_is_no_picture_is_refused_there_too(http: httpx.Client, stack: Stack) -> None:
    answer = infer(http, stack, b"Total: 1,249.50 EUR")
    assert answer.status_code == 415
    assert "JPEG" in answer.json()["error"]


def test_its_metadata_says_what_it_takes_and_gives(http: httpx.Client, stack: Stack) -> None:
    told = http.get(f"{stack.url()}/v2/models/serial").json()
    assert told["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [1]}]
    assert [output["name"] for output in told["outputs"]] == ["texts", "confidences", "boxes", "read_by"]
