"""STRATEGY=partial: one dead, frozen, slow or failing predictor harms only itself, and heals without a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import pytest

from runtimes.base import Stack
from tests.asking.parallel import COLUMNS, ROWS, SERVICES, ask, events, instances
from tests.conftest import Start
from tests.load import Load, request
from tests.support import direct_url, eventually, readiness, soon

TIMEOUT = 0.6
SLACK = 1.0  # what a busy machine may add
on_this_machine = pytest.mark.runs_on("local")
BODY = {"instances": instances(*ROWS), "aggregate": "all"}


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    limits = {"PREDICTOR_TIMEOUT_SECONDS": str(TIMEOUT), "QUORUM": "2", "PREDICTOR_ATTEMPTS": "2"}
    return start_for_module("parallel", STRATEGY="partial", FAULTS="true", **limits)


@pytest.fixture
def whole(stack: Stack) -> Any:
    """What is answered while nobody is missing."""
    return eventually(lambda: answered(stack), 15, "everybody answers")


def answered(stack: Stack, *missing: str) -> Any:
    """The answer, once exactly these are missing from it."""
    answer = ask(stack, BODY)
    told = answer.json() if answer.status_code == 200 else {}
    return told if set(told.get("missing", [""])) == set(missing) else None


def switch(stack: Stack, service: str, **faults: Any) -> None:
    httpx.post(f"{stack.url(service)}/faults", json=faults, timeout=10).raise_for_status()


@contextmanager
def broken(stack: Stack, how: str, name: str) -> Iterator[None]:
    """A predictor in trouble, and out of it afterwards."""
    service = SERVICES[name]
    begin, end = HOWS[how]
    begin(stack, service)
    try:
        yield
    finally:
        end(stack, service)


Act = Callable[[Stack, str], Any]
HOWS: dict[str, tuple[Act, Act]] = {
    "killed": (lambda stack, service: stack.kill(service), lambda stack, service: stack.start(service)),
    "frozen": (lambda stack, service: stack.freeze(service), lambda stack, service: stack.thaw(service)),
    "slow": (lambda stack, service: switch(stack, service, latency_seconds=2), switch),
    "failing": (lambda stack, service: switch(stack, service, error_share=1), switch),
}
TROUBLES = [
    *(pytest.param("frozen", name) for name in SERVICES),
    pytest.param("killed", "iris"),
    pytest.param("slow", "iris_rf", marks=on_this_machine),
    pytest.param("failing", "iris_mlp", marks=on_this_machine),
]


@pytest.mark.parametrize(("how", "name"), TROUBLES)
def test_a_predictor_in_trouble_harms_only_itself_and_heals(stack: Stack, whole: Any, how: str, name: str) -> None:
    with broken(stack, how, name):
        answer = ask(stack, BODY)
        assert answer.status_code == 200
        assert answer.elapsed.total_seconds() < TIMEOUT + SLACK
        told = answer.json()
        assert list(told["missing"]) == [name]
        assert told["missing"][name].startswith(f"predictor {name}")
        assert told["answers"] == {one: said for one, said in whole["answers"].items() if one != name}
        assert ("petal_width" in told["predictions"][0]) is (name != "petal_width")
    assert eventually(lambda: answered(stack), 15, "it is asked again")["answers"] == whole["answers"]


async def test_under_load_a_frozen_predictor_costs_no_request_and_no_other_answer(stack: Stack, whole: Any) -> None:
    others = orjson.dumps({one: said for one, said in whole["answers"].items() if one != "iris_mlp"})
    with broken(stack, "frozen", "iris_mlp"):
        await soon(lambda: answered(stack, "iris_mlp"), "it is missed")
        async with Load(
            direct_url(stack, "proxy"), [request("/predict", BODY)], lambda body: others in body, 4
        ) as load:
            await load.answered(16, seconds=16 / 4 * (TIMEOUT + SLACK))
    assert (load.tally.lost, load.tally.wrong) == ([], [])
    assert load.tally.statuses == {200: load.tally.sent}


def test_who_does_not_even_answer_the_watch_is_not_waited_for(stack: Stack, whole: Any) -> None:
    def at_once() -> Any:
        answer = ask(stack, BODY)
        return answer.json() if answer.elapsed.total_seconds() < TIMEOUT / 2 else None

    with broken(stack, "frozen", "iris_mlp"):
        told = eventually(at_once, 15, "the others' answers come at once")
        assert told["missing"]["iris_mlp"].startswith("predictor iris_mlp cannot answer")
    eventually(lambda: answered(stack), 15, "it is asked again")


def test_a_lost_quorum_is_a_failure_with_every_reason(stack: Stack, whole: Any) -> None:
    frozen = ("iris", "iris_rf", "iris_mlp")
    for name in frozen:
        stack.freeze(SERVICES[name])
    try:
        answer = ask(stack, BODY)
        assert answer.elapsed.total_seconds() < TIMEOUT + SLACK
        assert "1 of 4 predictors responded and 2 are needed" in answer.json()["detail"]
        late = [f"predictor {name} did not respond" in answer.json()["detail"] for name in frozen]
        missed = [f"predictor {name} cannot answer" in answer.json()["detail"] for name in frozen]  # by the watch
        assert [one or other for one, other in zip(late, missed, strict=True)] == [True] * 3
        assert answer.status_code == (504 if all(late) else 503 if all(missed) else 502)
        answer = eventually(lambda: refused_at_once(stack), 10, "nobody waits for them any more")
        for name in frozen:
            assert f"predictor {name} cannot answer" in answer.json()["detail"]
        eventually(lambda: readiness(stack, "proxy").status_code == 503, 10, "the proxy is unready")
    finally:
        for name in frozen:
            stack.thaw(SERVICES[name])
    eventually(lambda: answered(stack), 15, "all are asked again")


def refused_at_once(stack: Stack) -> httpx.Response | None:
    answer = ask(stack, BODY)
    return answer if answer.status_code == 503 and answer.elapsed.total_seconds() < TIMEOUT else None


def test_different_failures_beyond_the_quorum_are_told_together(stack: Stack, whole: Any) -> None:
    with broken(stack, "failing", "iris"), broken(stack, "frozen", "iris_rf"), broken(stack, "killed", "iris_mlp"):
        answer = ask(stack, BODY)
        assert answer.status_code == 502
        for name in ("iris", "iris_rf", "iris_mlp"):
            assert f"{name}: predictor {name}" in answer.json()["detail"]
    eventually(lambda: answered(stack), 15, "all are asked again")


@on_this_machine
def test_the_stream_gives_the_others_first_and_says_who_is_missing(stack: Stack, whole: Any) -> None:
    with broken(stack, "slow", "iris_rf"):
        *each, last, end = events(ask(stack, BODY, "/predict/stream").text)
    assert [(one["event"], one["name"]) for one in each] == [("answer", one["name"]) for one in each]
    assert (last["event"], last["name"]) == ("missing", "iris_rf")
    assert last["ms"] >= TIMEOUT * 1e3
    assert (end["event"], list(end["missing"])) == ("predictions", ["iris_rf"])
    assert set(end["answers"]) == {"iris", "iris_mlp", "petal_width"}


@on_this_machine
def test_the_protocols_answer_tells_what_is_missing(stack: Stack, whole: Any) -> None:
    features = {"name": "features", "shape": [1, len(COLUMNS)], "datatype": "FP32", "data": ROWS[0]}
    with broken(stack, "failing", "petal_width"):
        answer = ask(stack, {"inputs": [features]}, "/v2/models/parallel/infer").json()
        named = ask(stack, {"inputs": [features], "outputs": [{"name": "petal_width"}]}, "/v2/models/parallel/infer")
    assert [one["name"] for one in answer["outputs"]] == ["probabilities", "label"]
    assert list(orjson.loads(answer["parameters"]["missing"])) == ["petal_width"]
    assert (named.status_code, "petal_width" in named.json()["error"]) == (502, True)
