"""The OpenAPI documents are true: their examples work, and whatever they allow or forbid, no answer is a 5xx."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode

from runtimes.base import Stack
from tests.asking.prep_pred import sample, start_layout
from tests.conftest import Start
from tests.openapi import bounded, tried

LAYOUTS = (None, "proxy")
BYTES = st.binary(max_size=2000) | st.just(sample("coffee.jpg")) | st.just(sample("coffee.jpg")[:9000])


@pytest.fixture(scope="module", params=LAYOUTS, ids=lambda layout: layout or "default")
def stack(request: pytest.FixtureRequest, start_shared: Start) -> Stack:
    return start_layout(start_shared, request.param)


@pytest.fixture(scope="module")
def document(stack: Stack) -> dict[str, Any]:
    answer = httpx.get(f"{stack.url()}/openapi.json", timeout=10)
    assert answer.status_code == 200
    return dict(answer.json())


def test_every_route_is_documented(document: dict[str, Any]) -> None:
    assert {"/predict/{model}", "/livez", "/readyz", "/metrics", "/metadata", "/v2", "/v2/models",
            "/v2/models/{model}", "/v2/models/{model}/infer"} <= set(document["paths"])  # fmt: skip
    for path, methods in document["paths"].items():
        assert all(operation.get("summary") for operation in methods.values()), path


def test_every_example_works(stack: Stack, document: dict[str, Any]) -> None:
    content = document["paths"]["/predict/{model}"]["post"]["requestBody"]["content"]
    examples = content["application/json"]["examples"]
    assert examples.keys() == {"iris_standardised", "penguins", "text_language"}
    for model, example in examples.items():
        answer = httpx.post(f"{stack.url()}/predict/{model}", json=example["value"], timeout=10)
        assert answer.status_code == 200, answer.text
    assert {"image/jpeg", "image/png"} < content.keys()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_request_gets_a_5xx(stack: Stack, mode: GenerationMode) -> None:
    for media in ("image/jpeg", "image/png"):
        schemathesis.openapi.media_type(media, BYTES)
    asked = tried(stack, mode, 15)
    assert "POST /v2/models/{model}/infer" in asked
    assert mode is not GenerationMode.POSITIVE or "POST /predict/{model}" in asked


@pytest.mark.parametrize("model", ["imagenet_lite0", "penguins", "text_language"])
def test_a_known_model_answers_any_instance_without_a_5xx(stack: Stack, model: str) -> None:
    value = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
    named = st.dictionaries(st.sampled_from(["island", "sex", "body_mass_g", "bill_length_mm", "x"]), value)
    with httpx.Client(base_url=stack.url(), timeout=10) as client:

        @bounded(25)
        @given(st.lists(named | st.text(max_size=60), max_size=4))
        def answer_is_no_5xx(instances: list[Any]) -> None:
            answer = client.post(f"/predict/{model}", json={"instances": instances})
            assert answer.status_code in (200, 400), answer.text

        answer_is_no_5xx()
