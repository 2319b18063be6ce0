"""The OpenAPI document names every route, and each of its examples works as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode

from tests.asking.prep_pred import sample
from tests.conformance.served import Served
from tests.openapi import tried

# the same code as without a version, and protocols that are fuzzed where they are read (tests/unit/common/protocol)
ELSEWHERE = re.compile("/v1/|/versions/|/repository/")
EXAMPLES = 10  # requests to an operation with a body, in each mode
ROUTES = {
    "/livez",
    "/readyz",
    "/metrics",
    "/metadata",
    "/v2",
    "/v2/health/ready",
    "/v2/models",
    "/v2/models/{model}",
    "/v2/models/{model}/ready",
    "/v2/models/{model}/infer",
    "/v2/models/{model}/versions/{version}/infer",
}


def document(served: Served) -> dict[str, Any]:
    return dict(served.get("/openapi.json").raise_for_status().json())


def operations(told: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_route_is_documented(served: Served) -> None:
    told = document(served)
    assert ROUTES | {served.row.route} <= set(told["paths"])
    assert set(served.get("/metadata").json()["routes"]) == set(told["paths"])
    for method, path, operation in operations(told):
        assert operation.get("summary"), f"{method} {path}"


def examples(operation: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Media type, name and example of each body that an operation shows."""
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        if "example" in content:
            yield media, "", {"value": content["example"]}
        for name, example in content.get("examples", {}).items():
            yield media, name, example


def parameters(operation: dict[str, Any], name: str) -> dict[str, str]:
    """A value for each parameter in the path; where the document gives none, the body example's name is one."""
    found = [one for one in operation.get("parameters", []) if one["in"] == "path"]
    return {one["name"]: one["schema"].get("examples", [name])[0] for one in found}


def send(served: Served, method: str, path: str, media: str, example: dict[str, Any]) -> httpx.Response:
    if "externalValue" in example:
        file = served.get(example["externalValue"]).raise_for_status().content
        return served.ask(method, path, content=file, headers={"Content-Type": media})
    return served.ask(method, path, json=example["value"])


def test_every_example_of_a_body_works(served: Served) -> None:
    tried = 0
    for method, path, operation in operations(document(served)):
        for media, name, example in examples(operation):
            filled = path.format_map(parameters(operation, name))
            response = send(served, method, filled, media, example)
            expected = next(code for code in ("200", "202") if code in operation["responses"])
            assert str(response.status_code) == expected, f"{method} {filled}: {response.text}"
            tried += 1
    friendly = document(served)["paths"][served.row.route]["post"]["requestBody"]["content"]
    assert tried or all(media.startswith("image/") for media in friendly)


def test_every_get_works_with_the_examples_of_its_parameters(served: Served) -> None:
    for method, path, operation in operations(document(served)):
        named = parameters(operation, "")
        if method == "GET" and all(named.values()):
            assert served.get(path.format_map(named)).status_code == 200, path


@pytest.mark.once_per_pattern
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_that_the_document_allows_or_forbids_gets_a_5xx(served: Served, mode: GenerationMode) -> None:
    photo = sample("coffee.jpg")
    for media in ("image/jpeg", "image/png"):
        schemathesis.openapi.media_type(media, st.binary(max_size=2000) | st.just(photo) | st.just(photo[:9000]))
    labels = {f"{method} {path}" for method, path, _ in operations(document(served))}
    asked = tried(served.stack, mode, EXAMPLES, {one for one in labels if not ELSEWHERE.search(one)})
    assert "POST /v2/models/{model}/infer" in asked
    assert mode is not GenerationMode.POSITIVE or f"POST {served.row.route}" in asked
