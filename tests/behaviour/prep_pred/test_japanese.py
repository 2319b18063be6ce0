"""VARIANT=japanese: texts that an analyser has to take apart, prepared by an optional library, predicted without it."""

from __future__ import annotations

import httpx
import pytest

from common.preprocessing.steps import preparer
from common.protocol.tensors import Array
from patterns.prep_pred import demo
from runtimes.base import Stack
from tests.asking.prep_pred import inferences, items, labels, manifest, predict
from tests.conftest import Start

MODEL = "message_topic_ja"
MESSAGE = "このパスワードは数字しか使われていません。"
READ = 2000  # characters of a text; what follows is not read


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("prep_pred", "japanese")


def shares(stack: Stack, *texts: str) -> list[dict[str, float]]:
    answer = predict(stack, MODEL, *texts)
    assert answer.status_code == 200, answer.text
    return [one["probabilities"] for one in answer.json()["predictions"]]


def test_messages_are_from_where_they_are_from(stack: Stack) -> None:
    instances, truth = zip(*items(MODEL), strict=True)
    assert labels(predict(stack, MODEL, *instances)) == list(truth)


def test_the_demo_shows_the_model_that_is_on_offer(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    demo.main(stack.url())
    shown = capsys.readouterr().out
    assert shown.count(MODEL) == 4  # three rows, and the line to ask it oneself
    assert items(MODEL)[0][0] in shown


def test_how_it_is_written_makes_no_difference(stack: Stack) -> None:
    full, half = shares(stack, "パスワードとURL", "  ﾊﾟｽﾜｰﾄﾞとｕｒｌ\n")
    assert full == half


def test_the_form_of_a_word_makes_no_difference(stack: Stack) -> None:
    assert (prepared("パスワードを選ぶ") == prepared("パスワードを選ん")).all()
    one, other = shares(stack, "パスワードを選ぶ", "パスワードを選ん")
    assert one == other


def prepared(text: str) -> Array:
    """What the text becomes in this process, one row."""
    return preparer(manifest(MODEL)).prepare(text)["features"]


@pytest.mark.parametrize("text", ["", " \n", "\u3000"], ids=["no character", "space", "ideographic space"])
def test_an_empty_text_is_refused_and_never_inferred(stack: Stack, text: str) -> None:
    before = inferences(stack)
    answer = predict(stack, MODEL, MESSAGE, text)
    assert (answer.status_code, answer.json()["detail"]) == (400, "instances[1].text: is empty")
    assert inferences(stack) == before


@pytest.mark.parametrize("text", ["☃☃☃", "Übermorgen", "\u0000", "한국어", "鱟" * 50])
def test_a_text_without_a_known_morpheme_is_answered_without_conviction(stack: Stack, text: str) -> None:
    assert not prepared(text).any()
    (told,) = shares(stack, text)
    assert max(told.values()) < 0.8
    assert told == shares(stack, "☃")[0]


def test_of_a_very_long_text_only_the_beginning_is_read(stack: Stack) -> None:
    beginning = (MESSAGE * READ)[:READ]
    answer = predict(stack, MODEL, beginning + "ドキュメント" * 100_000)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == predict(stack, MODEL, beginning).json()["predictions"]
    assert answer.elapsed.total_seconds() < 5


def test_a_long_text_of_signs_that_stand_for_many_is_answered(stack: Stack) -> None:
    """Each becomes 18 characters, and so more than the analyser takes at once."""
    assert len(shares(stack, "\ufdfa" * READ)) == 1


def test_half_a_surrogate_pair_is_no_fault_of_the_server(stack: Stack) -> None:
    body = b'{"instances": ["\\ud800"]}'
    answer = httpx.post(
        f"{stack.url()}/predict/{MODEL}", content=body, headers={"Content-Type": "application/json"}, timeout=10
    )
    assert answer.status_code < 500, answer.text
