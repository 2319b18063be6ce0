"""The variant `hierarchy` of parallel: a proxy in another's list is one predictor, and passes on what it misses."""

from __future__ import annotations

import os
import subprocess
import sys

import httpx
import pytest

from runtimes.base import Stack
from runtimes.ports import free_ports
from tests.asking.parallel import CLASSIFIERS, ROWS, instances, predicted
from tests.conftest import Start
from tests.drills.faults import switched
from tests.stand_in import ROOT, reachable
from tests.support import eventually


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    return start_for_module("parallel", "hierarchy", STRATEGY="partial", PREDICTOR_TIMEOUT_SECONDS="3", FAULTS="true")


def test_it_answers_as_one_proxy_over_all_predictors_does(stack: Stack) -> None:
    answer = predicted(stack, *ROWS, aggregate="all")
    inner = httpx.post(
        f"{stack.url('classifiers')}/predict", json={"instances": instances(*ROWS), "aggregate": "all"}, timeout=10
    ).json()
    assert set(answer["answers"]) == {"classifiers", "petal_width"}
    assert set(inner["answers"]) == set(CLASSIFIERS)
    for outer, own in zip(answer["predictions"], inner["predictions"], strict=True):
        assert outer["probabilities"] == pytest.approx(own["probabilities"], abs=1e-6)
        assert outer["petal_width"] > 0
    assert answer["models"] == {"classifiers": "parallel/1", "petal_width": "petal_width/1"}


def test_who_is_missing_below_is_told_at_the_top(stack: Stack) -> None:
    stack.kill("iris-rf")
    try:
        answer = predicted(stack, *ROWS)
        assert list(answer["missing"]) == ["classifiers/iris_rf"]
        assert "iris_rf" in answer["missing"]["classifiers/iris_rf"]
        assert len(answer["predictions"]) == len(ROWS)
    finally:
        stack.start("iris-rf")
    eventually(lambda: not predicted(stack, *ROWS)["missing"], 10, "it is asked again")


def test_one_slow_predictor_below_costs_only_itself(stack: Stack) -> None:
    with switched(stack, "iris-rf", latency_seconds=10):
        answer = predicted(stack, *ROWS)
    assert list(answer["missing"]) == ["classifiers/iris_rf"]
    assert answer["models"] == {"classifiers": "parallel/1", "petal_width": "petal_width/1"}


def test_a_proxy_that_lists_itself_names_the_circle_at_once() -> None:
    (port,) = free_ports(1)
    listed = f"itself=http://127.0.0.1:{port}#parallel"
    command = [sys.executable, "-m", "common.serve", "patterns.parallel.proxy"]
    env = {"HTTP_PORT": str(port), "GRPC_PORT": "0", "PREDICTORS": listed, "PATH": os.environ["PATH"]}
    process = subprocess.Popen(command, cwd=ROOT, env=env)
    url = f"http://127.0.0.1:{port}/readyz"
    try:
        eventually(lambda: reachable(url.removesuffix("/readyz")), 20, "its port is open")
        eventually(lambda: "a circle; its PREDICTORS lists itself" in httpx.get(url).text, 3, "it names the circle")
    finally:
        process.terminate()
        assert process.wait(20) == 0
