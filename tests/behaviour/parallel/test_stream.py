"""POST /predict/stream of parallel: answers as they come, and the same in the end as POST /predict."""

from __future__ import annotations

import json

import pytest

from runtimes.base import Stack
from tests.asking.parallel import CLASSIFIERS, ROWS, ask, events, instances, predicted
from tests.conftest import Start

PATH = "/predict/stream"


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("parallel")


@pytest.mark.parametrize("how", ["mean", "vote", "best", "all"])
def test_each_answer_comes_by_itself_and_the_whole_at_the_end(stack: Stack, how: str) -> None:
    answer = ask(stack, {"instances": instances(*ROWS), "aggregate": how}, PATH)
    assert answer.headers["content-type"] == "application/x-ndjson"
    *each, whole = events(answer.text)
    assert {one["name"] for one in each} == {*CLASSIFIERS, "petal_width"}
    assert [one["event"] for one in each] == ["answer"] * 4
    times = [one["ms"] for one in each]
    assert times == sorted(times)
    assert {one["model"] for one in each} == {"iris/1", "iris_rf/1", "iris_mlp/1", "petal_width/1"}
    assert whole.pop("event") == "predictions"
    assert whole == predicted(stack, *ROWS, aggregate=how)
    everyone = predicted(stack, *ROWS, aggregate="all")["answers"]
    assert {one["name"]: one["answers"] for one in each} == everyone


def test_server_sent_events_for_whom_accepts_those(stack: Stack) -> None:
    answer = ask(stack, {"instances": instances(ROWS[0])}, PATH, Accept="text/event-stream")
    assert answer.headers["content-type"].startswith("text/event-stream")
    sent = [event.split("\n") for event in answer.text.strip().split("\n\n")]
    assert [kind for kind, _ in sent] == ["event: answer"] * 4 + ["event: predictions"]
    last = json.loads(sent[-1][1].removeprefix("data: "))
    assert last == predicted(stack, ROWS[0])
