"""The twin, all models in one process, is the same pipeline: it gives the same answer to the last digit."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from runtimes.base import Stack
from tests.asking.serial import encoded, picture, post, sample
from tests.conftest import Start


@pytest.fixture(scope="module")
def chain(start_shared: Start) -> Stack:
    return start_shared("serial")


@pytest.fixture(scope="module")
def twin(start_shared: Start) -> Stack:
    return start_shared("serial", "all_in_one")


@pytest.mark.parametrize("name", ["invoice_turned.jpg", "page.jpg"])
def test_it_answers_exactly_as_the_chain_does(chain: Stack, twin: Stack, name: str) -> None:
    answers: list[Any] = [post(stack.url(), sample(name)).json() for stack in (chain, twin)]
    assert answers[0]["lines"]
    assert answers[0] == answers[1]


def test_it_refuses_what_the_chain_refuses(chain: Stack, twin: Stack) -> None:
    cut = encoded(picture("page.jpg"))[:5000]
    answers = [post(stack.url(), cut) for stack in (chain, twin)]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]


def test_its_models_answer_over_the_protocol_as_well(http: httpx.Client, twin: Stack) -> None:
    assert http.get(f"{twin.url()}/v2/models").json()["models"] == [
        "page_orientation",
        "text_detection",
        "text_recognition",
        "text_recognition_heavy",
    ]
