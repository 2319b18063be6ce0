"""A model from an object store: an S3 server on this machine, with the credentials of the shell."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from runtimes.base import Stack
from runtimes.errors import ModelNotLoaded
from runtimes.ports import free_ports
from tests.conftest import Start
from tests.support import INFER, SETOSA, built, eventually, labels, question

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-central-1"}


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The URL of an S3 server that holds iris at s3://models/iris/1, and at s3://models/other/1 with another file."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            eventually(lambda: answers(url), 30, "the store answers")
            fill(url)
            yield url
        finally:
            process.terminate()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/moto-api/").status_code == 200
    except httpx.TransportError:
        return False


def fill(url: str) -> None:
    with httpx.Client(base_url=url, timeout=60) as client:
        client.put("/models").raise_for_status()
        for file in ("model.yaml", "model.onnx"):
            content = (built("iris") / file).read_bytes()
            client.put(f"/models/iris/1/{file}", content=content).raise_for_status()
            other = content if file == "model.yaml" else b"another"
            client.put(f"/models/other/1/{file}", content=other).raise_for_status()


def test_a_model_comes_from_s3(start_own: Start, store: str) -> None:
    stack = start_own("web_single", MODEL_URI="s3://models/iris/1", AWS_ENDPOINT_URL=store, **CREDENTIALS)
    answer = httpx.post(stack.url() + INFER, json=question(SETOSA))
    assert labels(answer.json()) == [0]


def test_a_file_that_is_not_the_manifests_ends_the_start_at_once(store: str) -> None:
    settings = {"MODEL_URI": "s3://models/other/1", "AWS_ENDPOINT_URL": store, **CREDENTIALS}
    stack = Stack.create("web_single", "local", port=0, name=f"test-{os.getpid()}-other", env=settings)
    began = time.monotonic()
    with pytest.raises(ModelNotLoaded, match=r"api cannot load the model 'iris': .*sha256 is"):
        stack.up(60)
    assert time.monotonic() - began < 20
