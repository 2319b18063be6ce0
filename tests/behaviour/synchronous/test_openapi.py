"""The OpenAPI document names every route, its examples work, and whatever is sent by it, no answer is a 5xx."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from schemathesis import GenerationMode

from runtimes.base import Stack
from tests.conftest import Start
from tests.openapi import tried

OWN = ["POST /classify", "GET /jobs/{identity}", "DELETE /jobs/{identity}"]


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("synchronous")


@pytest.fixture(scope="module")
def document(stack: Stack) -> dict[str, Any]:
    return dict(httpx.get(f"{stack.url()}/openapi.json", timeout=10).raise_for_status().json())


def test_the_patterns_own_routes_are_documented_beside_the_protocols(document: dict[str, Any]) -> None:
    found = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert found >= {*OWN, "POST /v2/models/{model}/infer", "GET /metadata", "GET /readyz"}


def test_the_example_photo_is_there_and_is_answered(http: httpx.Client, stack: Stack, document: dict[str, Any]) -> None:
    operation = document["paths"]["/classify"]["post"]
    for media, content in operation["requestBody"]["content"].items():
        photo = http.get(stack.url() + content["examples"]["photo"]["externalValue"]).raise_for_status()
        answer = http.post(f"{stack.url()}/classify", content=photo.content, headers={"Content-Type": media})
        assert answer.status_code == 200
    for code in ("200", "202", "400", "413", "415", "503", "504"):
        assert operation["responses"][code]["description"]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_gets_a_5xx(stack: Stack, mode: GenerationMode) -> None:
    """The protocols' own routes are tried where they are made."""
    assert {"POST /classify", "GET /jobs/{identity}"} <= tried(stack, mode, 10, OWN)
