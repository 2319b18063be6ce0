"""A stage is slow or fails: the response comes in time and names it; without the second reading, the first one stands.

tests/drills/test_every_pattern.py kills, freezes and stops the stages that every page needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from runtimes.base import Stack
from tests.asking.serial import STAGES, TIMEOUT, all_runs, post, read, sample, texts
from tests.conftest import Start
from tests.drills.faults import switch, unready
from tests.stand_in import process_of
from tests.support import client, eventually

NEEDED, HEAVY = STAGES[:3], STAGES[3]
SLACK = 1.5  # what a busy machine may add
PAGE = "page.jpg"
MODELS = dict(
    zip(STAGES, ("page_orientation", "text_detection", "text_recognition", "text_recognition_heavy"), strict=True)
)
on_this_machine = pytest.mark.runs_on("local")


@pytest.fixture(scope="module")
def service(start_for_module: Start) -> Stack:
    return start_for_module("serial", FAULTS="true", READ_AGAIN_WITHIN_SECONDS="1")


@pytest.fixture
def stack(service: Stack) -> Iterator[Stack]:
    """Whole again at the end of each test, without a restart of anything that was not ended."""
    yield service
    eventually(lambda: whole(service), 20, "the whole page is read again")


def whole(stack: Stack) -> bool:
    answer = post(stack.url(), sample(PAGE))
    return answer.status_code == 200 and not answer.json()["missing"]


def timed(stack: Stack, seconds: float | None = None) -> tuple[httpx.Response, float]:
    start = time.monotonic()
    headers = {} if seconds is None else {TIMEOUT: str(seconds)}
    return post(stack.url(), sample(PAGE), **headers), time.monotonic() - start


@on_this_machine
@pytest.mark.parametrize("stage", NEEDED)
def test_a_slow_stage_is_504_in_time_and_no_later_stage_is_started(stack: Stack, stage: str) -> None:
    read(stack.url(), sample(PAGE))
    switch(stack, stage, latency_seconds=1.5)
    before = all_runs(stack)
    try:
        answer, took = timed(stack, 0.7)
        assert answer.status_code == 504
        assert stage in answer.json()["detail"]
        assert took < 0.7 + SLACK
    finally:
        switch(stack, stage)
    later = STAGES[STAGES.index(stage) + 1 :]
    after = all_runs(stack)
    assert {name: after[name] for name in later} == {name: before[name] for name in later}


@on_this_machine
@pytest.mark.parametrize("stage", NEEDED)
def test_a_stage_whose_model_fails_is_named(stack: Stack, stage: str) -> None:
    switch(stack, stage, error_share=1.0)
    try:
        answer, _ = timed(stack)
        assert answer.status_code == 502
        assert stage in answer.json()["detail"]
    finally:
        switch(stack, stage)


def broken(stack: Stack) -> None:
    switch(stack, HEAVY, error_share=1.0)


def slow(stack: Stack) -> None:
    switch(stack, HEAVY, latency_seconds=30)


def frozen(stack: Stack) -> None:
    stack.freeze(HEAVY)


def killed(stack: Stack) -> None:
    stack.kill(HEAVY)


def mend(stack: Stack, fault: Callable[[Stack], None]) -> None:
    if fault is frozen:
        stack.thaw(HEAVY)
    elif fault is killed:
        stack.start(HEAVY)
    else:
        switch(stack, HEAVY)


FAULTS = [
    *(pytest.param(fault, marks=on_this_machine, id=fault.__name__) for fault in (broken, slow)),
    *(pytest.param(fault, id=fault.__name__) for fault in (frozen, killed)),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_without_the_heavy_recogniser_the_first_reading_stands_and_the_answer_says_so(
    stack: Stack, fault: Callable[[Stack], None]
) -> None:
    lines = read(stack.url(), sample(PAGE))["lines"]
    fault(stack)
    try:
        answer, took = timed(stack)
        assert answer.status_code == 200
        reading = answer.json()
        assert HEAVY in reading["missing"][HEAVY]
        assert {line["read_by"] for line in reading["lines"]} == {"recognition"}
        assert len(reading["lines"]) + reading["uncertain"] == len(lines)
        kept = [one["text"] for one in lines if one["read_by"] == "recognition"]
        assert set(kept) <= set(texts(reading))
        assert took < 2 + SLACK
        assert not unready(stack, "proxy")
    finally:
        mend(stack, fault)


@on_this_machine
def test_a_heavy_recogniser_that_is_too_slow_for_the_callers_deadline_does_not_cost_the_answer(stack: Stack) -> None:
    switch(stack, HEAVY, latency_seconds=30)
    try:
        answer, took = timed(stack, 1.5)
        assert answer.status_code == 200
        assert HEAVY in answer.json()["missing"]
        assert took < 1.5
    finally:
        switch(stack, HEAVY)


@on_this_machine
def test_a_caller_who_left_is_not_read_for(stack: Stack) -> None:
    switch(stack, "orientation", latency_seconds=1.0)
    before = all_runs(stack)
    try:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{stack.url()}/read", content=sample(PAGE), timeout=0.4)
    finally:
        switch(stack, "orientation")
    eventually(lambda: not in_progress(stack), 5, "the request is over")
    after = all_runs(stack)
    assert [after[name] for name in STAGES[1:]] == [before[name] for name in STAGES[1:]]


def in_progress(stack: Stack) -> int:
    """Requests being answered by the proxy, besides the one that asks."""
    text = client().get(f"{stack.url()}/metrics").text
    (line,) = (line for line in text.splitlines() if line.startswith("serving_requests_in_progress "))
    return int(float(line.split()[1])) - 1


@on_this_machine
def test_a_stage_that_answers_as_another_model_is_named_and_no_wrong_reading_is_given(stack: Stack) -> None:
    """A proxy whose PREDICTORS name the detection, which takes pictures of any size, as the recognition."""
    asked = {stage: "detection" if stage == "recognition" else stage for stage in STAGES}
    addresses = ",".join(f"{stage}={stack.url(other)}#{MODELS[other]}" for stage, other in asked.items())
    with process_of("patterns.serial.proxy", PREDICTORS=addresses, PATTERN="serial", SERVICE="proxy") as url:
        answer = post(url, sample(PAGE))
    assert answer.status_code == 502
    assert answer.json()["detail"].startswith("predictor recognition: model text_detection does not have")
