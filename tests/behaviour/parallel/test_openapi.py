"""The OpenAPI document of parallel is true: its examples work, and whatever it allows or forbids is no 5xx."""

from __future__ import annotations

import httpx
import pytest
from schemathesis import GenerationMode

from runtimes.base import Stack
from tests.conftest import Start
from tests.openapi import tried

ASKED = {
    "/predict",
    "/predict/stream",
    "/v2/models/{model}/infer",
    "/v2/models/{model}/versions/{version}/infer",
}


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("parallel")


def test_every_example_works(http: httpx.Client, stack: Stack) -> None:
    document = http.get(f"{stack.url()}/openapi.json").json()
    worked = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), f"{method} {path}"
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" in body:
                examples = {one["name"]: one["schema"]["examples"][0] for one in operation.get("parameters", [])}
                answer = http.request(method, stack.url() + path.format_map(examples), json=body["example"])
                assert answer.status_code == 200, answer.text
                worked.add(path)
    assert worked == ASKED


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_gets_a_5xx(stack: Stack, mode: GenerationMode) -> None:
    posts = {f"POST {path}" for path in ASKED}
    assert tried(stack, mode, 15, posts) == posts
