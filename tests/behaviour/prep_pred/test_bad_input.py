"""Whatever is wrong with an input costs its 4xx, which says what; what is only unusual is answered."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.base import Stack
from tests import pictures
from tests.asking.prep_pred import PENGUIN, inferences, labels, predict, sample, start_layout
from tests.conftest import Start
from tests.openapi import bounded

IRIS = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
UNUSUAL = ("cmyk", "turned", "transparent", "palette", "progressive")


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    """The layout in which an error has the longer way: from prep through the proxy."""
    return start_layout(start_shared, "proxy")


@pytest.mark.parametrize("kind", UNUSUAL)
def test_an_unusual_picture_shows_what_it_shows(stack: Stack, kind: str) -> None:
    answer = predict(stack, "imagenet_lite0", getattr(pictures, kind)())
    assert labels(answer) == ["espresso"]


def test_greys_of_16_bits_are_seen_and_not_cut_off_at_white(stack: Stack) -> None:
    deep = predict(stack, "imagenet_lite0", pictures.sixteen_bits())
    same = predict(stack, "imagenet_lite0", pictures.saved(pictures.coffee().convert("L"), "PNG"))
    assert deep.json()["predictions"] == same.json()["predictions"]
    assert labels(deep) == labels(same)


BAD_PICTURES = {
    "no byte": (b"", 400, "is empty"),
    "cut JPEG": (sample("coffee.jpg")[:20_000], 400, "cut short or damaged"),
    "head of a JPEG": (sample("coffee.jpg")[:30], 400, "cut short"),
    "cut PNG": (pictures.palette()[:5_000], 400, "cut short"),
    "GIF that moves": (pictures.animated_gif(), 415, "is a GIF"),
    "PNG that moves": (pictures.animated_png(), 400, "is animated, with 2 frames"),
    "bomb": (pictures.bomb(), 413, "60000 x 60000 pixels"),
    "text": (b"a cat on a mat", 415, "neither a JPEG nor a PNG"),
    "random bytes": (bytes(range(256)) * 40, 415, "neither a JPEG nor a PNG"),
}


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_a_bad_picture_is_refused_with_the_reason_and_never_inferred(stack: Stack, kind: str) -> None:
    body, status, reason = BAD_PICTURES[kind]
    before = inferences(stack)
    answer = predict(stack, "imagenet_lite0", body)
    assert answer.status_code == status, answer.text
    assert reason in answer.json()["detail"]
    assert answer.json()["detail"].startswith("picture: ")
    assert named(answer) == ["picture"]
    assert inferences(stack) == before


def named(answer: httpx.Response) -> list[str]:
    """The fields that are said to be wrong, each with a reason that the summary gives as well."""
    told = answer.json()
    assert all(f"{one['field']}: {one['reason']}" in told["detail"] for one in told["errors"])
    return [one["field"] for one in told["errors"]]


# model, instances, what the error says
BAD_INSTANCES: dict[str, tuple[str, list[Any], str]] = {
    "number is a text": ("iris_standardised", [IRIS | {"petal_width": "wide"}], "instances[0].petal_width: expected a"),
    "number is true": ("iris_standardised", [IRIS | {"petal_width": True}], "instances[0].petal_width: expected a n"),
    "number is missing": ("iris_standardised", [IRIS, {"sepal_length": 5}], "instances[1].sepal_width: is missing"),
    "number is null": ("iris_standardised", [IRIS | {"petal_width": None}], "instances[0].petal_width: is missing"),
    "number is beyond FP32": ("iris_standardised", [IRIS | {"petal_width": 1e300}], "instances[0].petal_width: is not"),
    "unknown name": ("penguins", [PENGUIN | {"colour": "black"}], "instances[0].colour: is not a field of this model"),
    "category is a number": ("penguins", [PENGUIN | {"sex": 1}], "instances[0].sex: expected a string, got '1'"),
    "text for values": ("penguins", ["a penguin"], "instances[0]: is not valid JSON"),
    "values for a text": ("imagenet_lite0", [PENGUIN], "instances[0].picture: is neither a JPEG nor a PNG"),
    "empty text": ("text_language", ["Guten Tag", " "], "instances[1].text: is empty"),
    "no instance": ("penguins", [], "instances: is empty"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_INSTANCES)
def test_a_bad_instance_is_refused_by_field_and_never_inferred(stack: Stack, kind: str) -> None:
    model, instances, reason = BAD_INSTANCES[kind]
    before = inferences(stack)
    answer = httpx.post(f"{stack.url()}/predict/{model}", json={"instances": instances}, timeout=20)
    assert answer.status_code == 400, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"].startswith(reason)
    assert named(answer)[0] == reason.partition(":")[0]
    assert inferences(stack) == before


def test_every_field_that_is_wrong_is_named(stack: Stack) -> None:
    answer = predict(stack, "penguins", PENGUIN | {"sex": 1}, PENGUIN | {"colour": "black"})
    assert answer.status_code == 400
    assert named(answer) == ["instances[0].sex", "instances[1].colour"]


# body, content type, status, what the error says
BAD_BODIES: dict[str, tuple[bytes, str, int, str]] = {
    "empty": (b"", "application/json", 400, "body: is not valid JSON"),
    "cut": (b'{"instances": [', "application/json", 400, "body: is not valid JSON"),
    "NaN": (b'{"instances": [{"body_mass_g": NaN}]}', "application/json", 400, "body: is not valid JSON"),
    "list": (b"[]", "application/json", 400, "body: expected `object`, got `array`"),
    "no instances": (b"{}", "application/json", 400, "instances: is missing"),
    "instances of null": (b'{"instances": null}', "application/json", 400, "instances: expected `array`, got `null`"),
    "instance of a number": (b'{"instances": [7]}', "application/json", 400, "instances[0]: expected `str | object`"),
    "picture for values": (sample("coffee.jpg"), "image/jpeg", 413, "instances[0]: "),
    "another kind of picture": (pictures.animated_gif(), "image/gif", 415, "Content-Type: expected image/jpeg"),
    "form": (b"a=1", "multipart/form-data; boundary=x", 415, "Content-Type: expected image/jpeg"),
}


@pytest.mark.parametrize("kind", BAD_BODIES)
def test_a_bad_body_is_refused(stack: Stack, kind: str) -> None:
    body, media, status, reason = BAD_BODIES[kind]
    url = f"{stack.url()}/predict/penguins"
    answer = httpx.post(url, content=body, headers={"Content-Type": media}, timeout=20)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"].startswith(reason)


def test_more_instances_than_their_tensors_may_take_are_refused(stack: Stack) -> None:
    answer = predict(stack, "text_language", *["Guten Tag"] * 2001)
    assert answer.status_code == 400
    assert answer.json()["detail"] == "instances: expected 1 to 2000, got 2001"


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
