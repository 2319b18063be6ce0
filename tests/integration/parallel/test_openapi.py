"""The OpenAPI document of parallel is true: its examples work, and whatever it allows or forbids is no 5xx."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from runtimes.base import Stack
from tests.conftest import Start

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
    tried = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), f"{method} {path}"
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" in body:
                examples = {one["name"]: one["schema"]["examples"][0] for one in operation.get("parameters", [])}
                answer = http.request(method, stack.url() + path.format_map(examples), json=body["example"])
                assert answer.status_code == 200, answer.text
                tried.add(path)
    assert tried == ASKED


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_gets_a_5xx(stack: Stack, mode: GenerationMode) -> None:
    schema: Any = schemathesis.openapi.from_url(f"{stack.url()}/openapi.json")
    tried = set()
    for found in schema.include(method="POST").get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=15, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def answer_is_no_5xx(case: schemathesis.Case) -> None:
            answer = case.call(timeout=10)
            assert answer.status_code < 500, case.as_curl_command()

        try:
            answer_is_no_5xx()
        except Unsatisfiable:  # an operation without parameters has nothing to get wrong
            continue
        tried.add(operation.path)
    assert tried >= ASKED
