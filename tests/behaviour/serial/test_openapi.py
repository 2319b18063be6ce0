"""The OpenAPI document of the proxy is true, and nothing that it allows or forbids makes a 5xx."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from schemathesis import GenerationMode

from runtimes.base import Stack
from tests.conftest import Start
from tests.openapi import tried


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("serial")


def test_every_route_is_documented(http: httpx.Client, stack: Stack) -> None:
    document: dict[str, Any] = http.get(f"{stack.url()}/openapi.json").json()
    assert {"/read", "/v2/models/{model}/infer", "/metadata", "/readyz", "/livez", "/metrics"} <= set(document["paths"])
    for methods in document["paths"].values():
        assert all(operation["summary"] for operation in methods.values())
    kinds = document["paths"]["/read"]["post"]["requestBody"]["content"].keys()
    assert kinds == {"image/jpeg", "image/png"}


def test_no_request_gets_a_5xx(stack: Stack) -> None:
    assert {"POST /read", "POST /v2/models/{model}/infer"} <= tried(stack, GenerationMode.POSITIVE, 10)
