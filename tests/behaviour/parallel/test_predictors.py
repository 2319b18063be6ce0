"""PREDICTORS of parallel: added and removed by the environment, over REST and gRPC, refused at the start when wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from patterns.parallel.settings import Settings
from runtimes.base import Stack
from tests.asking.parallel import LABELS, ROWS, own_answer, predicted
from tests.conftest import Start

ROOT = Path(__file__).parents[3]
TEN = ",".join(f"p{number}=http://host:8000" for number in range(10))


@pytest.fixture(scope="module")
def few(start_shared: Start) -> Stack:
    """Two of the predictors, one of them over gRPC, and none that takes three features."""
    return start_shared(
        "parallel", PREDICTORS="iris=grpc://iris:8001,mlp=http://iris-mlp:8000#iris_mlp", AGGREGATE="best"
    )


def test_those_that_are_listed_are_asked_and_no_others(few: Stack) -> None:
    answer = predicted(few, *ROWS)
    assert answer["models"] == {"iris": "iris/1", "mlp": "iris_mlp/1"}
    own = {"iris": own_answer(few, "iris", *ROWS), "mlp": own_answer(few, "iris_mlp", *ROWS)}
    for row, said in enumerate(answer["predictions"]):
        assert said["by"] == max(own, key=lambda name: max(own[name][row]))  # the setting's way, not the default
        assert said["label"] == LABELS[int(np.argmax(own[said["by"]][row]))]
        assert "petal_width" not in said


ONE = {"PREDICTORS": "a=http://b:8000"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"PREDICTORS": TEN}, ["PREDICTORS", "10 predictors", "at most 9", "slow", "another proxy"]),
        ({"PREDICTORS": "a=http://b:8000,a=http://c:8000"}, ["PREDICTORS", "'a' is named twice"]),
        ({"PREDICTORS": "a=ftp://b"}, ["PREDICTORS", "http://"]),
        ({"PREDICTORS": "label=http://b:8000"}, ["PREDICTORS", "'label'"]),
        ({"PREDICTORS": ""}, ["PREDICTORS", "names no predictor"]),
        ({}, ["PREDICTORS"]),
        (ONE | {"QUORUM": "2"}, ["QUORUM", "expected at most 1", "got 2"]),
        (ONE | {"AGGREGATE": "median"}, ["AGGREGATE", "'vote'"]),
        (ONE | {"STRATEGY": "some"}, ["STRATEGY", "'partial'"]),
        (ONE | {"PREDICTOR_TIMEOUT_SECONDS": "0"}, ["PREDICTOR_TIMEOUT_SECONDS"]),
        (ONE | {"FETCH": "nobody"}, ["FETCH"]),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_with_the_reason(settings: dict[str, str], says: list[str]) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({name.lower(): value for name, value in settings.items()})
    (error,) = refused.value.errors()
    for text in says:
        assert text in f"{str(error['loc'][0]).upper()}: {error['msg']}"


def test_ten_predictors_end_the_start_in_one_line() -> None:
    command = [sys.executable, "-m", "common.serve", "patterns.parallel.proxy"]
    environment = {"PATH": os.environ["PATH"], "PREDICTORS": TEN}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("wrong environment variables: PREDICTORS: ")
    assert "at most 9" in done.stderr
    assert len(done.stderr.splitlines()) == 1
