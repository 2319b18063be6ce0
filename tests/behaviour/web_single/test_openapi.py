"""The OpenAPI document is true: its examples work, and whatever it allows or forbids, no answer is a 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from runtimes.base import Stack
from tests.conftest import Start


def bounded(examples: int) -> settings:
    quiet = list(HealthCheck)
    return settings(max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=quiet)


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("web_single")


@pytest.fixture(scope="module")
def document(stack: Stack) -> dict[str, Any]:
    answer = httpx.get(f"{stack.url()}/openapi.json", timeout=10)
    assert answer.status_code == 200
    return dict(answer.json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_route_is_documented(document: dict[str, Any]) -> None:
    assert {
        "/predict",
        "/livez",
        "/readyz",
        "/metrics",
        "/metadata",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models",
        "/v2/models/{model}",
        "/v2/models/{model}/ready",
        "/v2/models/{model}/infer",
        "/v2/models/{model}/versions/{version}",
        "/v2/models/{model}/versions/{version}/ready",
        "/v2/models/{model}/versions/{version}/infer",
        "/v2/repository/index",
        "/v2/repository/models/{model}/load",
        "/v2/repository/models/{model}/unload",
    } == set(document["paths"])
    for method, path, operation in operations(document):
        assert operation.get("summary"), f"{method} {path}"


def test_every_example_works(http: httpx.Client, stack: Stack, document: dict[str, Any]) -> None:
    tried = []
    for method, path, operation in operations(document):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" not in body:
            continue
        examples = {one["name"]: one["schema"]["examples"][0] for one in operation.get("parameters", [])}
        answer = http.request(method, stack.url() + path.format_map(examples), json=body["example"])
        assert answer.status_code == 200, answer.text
        tried.append(path)
    assert tried == ["/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer", "/predict"]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_gets_a_5xx(stack: Stack, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{stack.url()}/openapi.json")
    tried = []
    for found in schema.get_all_operations():
        operation = found.ok()

        @bounded(20 if operation.body else 4)
        @given(case=operation.as_strategy(generation_mode=mode))
        def answer_is_no_5xx(case: schemathesis.Case) -> None:
            answer = case.call(timeout=10)
            assert answer.status_code < 500, case.as_curl_command()

        try:
            answer_is_no_5xx()
        except Unsatisfiable:  # an operation without parameters has nothing to get wrong
            continue
        tried.append(operation.label)
    assert "POST /predict" in tried
    assert "POST /v2/models/{model}/infer" in tried
