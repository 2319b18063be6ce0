"""The OpenAPI document of the proxy is true, and nothing that it allows or forbids makes a 5xx."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from runtimes.base import Stack
from tests.conftest import Start


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
    schema = schemathesis.openapi.from_url(f"{stack.url()}/openapi.json")
    tried = []
    for found in schema.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=10 if operation.body else 3,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def answer_is_no_5xx(case: schemathesis.Case) -> None:
            assert case.call(timeout=10).status_code < 500, case.as_curl_command()

        try:
            answer_is_no_5xx()
        except Unsatisfiable:  # an operation without parameters has nothing to get wrong
            continue
        tried.append(operation.label)
    assert "POST /read" in tried
    assert "POST /v2/models/{model}/infer" in tried
