"""Photos in, names out: right, timed stage by stage, and the same from the model that is one graph."""

from __future__ import annotations

import re

import httpx
import pytest

from common import RELEASE
from runtimes.base import Stack
from tests.asking.synchronous import CAT, PHOTOS, STAGES, TRUTH, names, opened, post, saved, shares
from tests.conftest import Start
from tests.support import SETOSA_BY_NAME, metric

TOLERANCE = 0.002  # between Pillow and the same filter inside the graph
VARIANTS = [None, "end_to_end"]


@pytest.fixture(params=VARIANTS, ids=["separate", "end_to_end"])
def stack(request: pytest.FixtureRequest, start_shared: Start) -> Stack:
    return start_shared("synchronous", request.param)


@pytest.mark.parametrize("photo", TRUTH)
def test_a_photo_is_named(http: httpx.Client, stack: Stack, photo: str) -> None:
    found = names(post(http, stack.url(), PHOTOS[photo]))
    assert TRUTH[photo] in found
    assert found[0] == {"chelsea.jpg": "tiger cat"}.get(photo, TRUTH[photo])  # a tabby, to us


@pytest.mark.parametrize("photo", TRUTH)
def test_one_graph_and_separate_steps_give_the_same_answer(http: httpx.Client, start_shared: Start, photo: str) -> None:
    separate, end_to_end = (
        post(http, start_shared("synchronous", one).url(), PHOTOS[photo], "?top=10") for one in VARIANTS
    )
    assert names(separate)[0] == names(end_to_end)[0]
    for label in names(separate)[:5]:
        assert shares(end_to_end)[label] == pytest.approx(shares(separate)[label], abs=TOLERANCE)


def test_the_answer_says_who_made_it(http: httpx.Client, stack: Stack) -> None:
    answer, told = post(http, stack.url(), CAT).json(), http.get(f"{stack.url()}/metadata").json()
    assert (answer["model_name"], answer["model_version"]) == (told["model"]["name"], told["model"]["version"])
    assert answer["release"] == told["release"] == RELEASE
    assert told["pattern"] == "synchronous"
    assert set(told["samples"]) == set(PHOTOS)


@pytest.mark.parametrize("top", [1, 5, 10])
def test_the_likeliest_come_first_and_as_many_as_asked_for(http: httpx.Client, stack: Stack, top: int) -> None:
    found = list(shares(post(http, stack.url(), CAT, f"?top={top}")).values())
    assert len(found) == top
    assert found == sorted(found, reverse=True)
    assert sum(found) <= 1.0001


@pytest.mark.parametrize("top", ["0", "11", "-1", "1.5", "", "many", "9999999999", "²"])
def test_a_wrong_number_of_classes_is_refused(http: httpx.Client, stack: Stack, top: str) -> None:
    answer = post(http, stack.url(), CAT, f"?top={top}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "top"


@pytest.mark.parametrize("query", ["topp=2", "top=2&size=1", "Top="])
def test_an_unknown_parameter_is_refused_with_the_known_one(http: httpx.Client, stack: Stack, query: str) -> None:
    answer = post(http, stack.url(), CAT, f"?{query}")
    assert (answer.status_code, "expected only top" in answer.json()["detail"]) == (400, True)


@pytest.mark.parametrize("media", ["image/jpeg", "image/png", "application/octet-stream", "Image/JPEG; q=1"])
def test_a_file_is_known_by_its_content(http: httpx.Client, stack: Stack, media: str) -> None:
    for body in (CAT, saved(opened("chelsea.jpg"), "PNG")):
        assert names(post(http, stack.url(), body, Content_Type=media))[0] == "tiger cat"


def test_every_stage_is_told_with_the_answer_and_counted(http: httpx.Client, stack: Stack) -> None:
    def counted() -> list[float]:
        name = "serving_inference_duration_seconds_count"
        return [metric(stack.url(), name, stage=stage) for stage in STAGES[:-1]]

    before = counted()
    timing = post(http, stack.url(), CAT).headers["Server-Timing"]
    assert [entry.partition(";")[0] for entry in timing.split(", ")] == STAGES
    spent = [float(one) for one in re.findall(r"dur=([\d.]+)", timing)]
    assert all(one >= 0 for one in spent)
    assert sum(spent[:-1]) <= spent[-1]
    assert [after - was for after, was in zip(counted(), before, strict=True)] == [1] * 5


def test_a_model_of_named_values_takes_those_and_says_so(http: httpx.Client, start_local: Start) -> None:
    stack = start_local("synchronous", MODEL="iris")
    answer = post(http, stack.url(), CAT)
    assert answer.status_code == 415
    assert "expected application/json" in answer.json()["detail"]
    best = http.post(f"{stack.url()}/classify?top=1", json=SETOSA_BY_NAME).json()["predictions"]
    assert [one["label"] for one in best] == ["setosa"]
    headers = {"Content-Type": "application/json"}
    for wrong in (b'{"sepal_length": NaN}', b'{"sepal_length": Infinity}', b'{"sepal_length": "\xff"}'):
        refused = http.post(f"{stack.url()}/classify", content=wrong, headers=headers)
        assert (refused.status_code, "not valid JSON" in refused.json()["detail"]) == (400, True)


def test_a_model_that_is_no_classifier_says_where_to_ask_it(http: httpx.Client, start_local: Start) -> None:
    stack = start_local("synchronous", MODEL="petal_width")
    answer = post(http, stack.url(), CAT)
    assert answer.status_code == 404
    assert "/v2/models/petal_width/infer" in answer.json()["detail"]
