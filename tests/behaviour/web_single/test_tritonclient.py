"""NVIDIA's client for the protocol, from PyPI, works unchanged: over HTTP, JSON and binary tensors, and over gRPC."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from runtimes.base import Stack
from tests.conftest import Start

SCRIPT = Path(__file__).parents[2] / "clients" / "triton_client.py"
WAYS = ["JSON", "binary", "gRPC"]


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("web_single")


@pytest.fixture(scope="module")
def answers(stack: Stack) -> Any:
    command = [sys.executable, str(SCRIPT), urlsplit(stack.url()).netloc, stack.grpc()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("way", WAYS)
def test_it_finds_server_and_model_ready_and_reads_their_metadata(answers: Any, way: str) -> None:
    answer = answers[way]
    assert answer["alive"] == [True, True, True]
    assert answer["extensions"] == ["binary_tensor_data"]
    (features,) = answer["inputs"]
    assert (features["name"], features["datatype"]) == ("features", "FP32")
    assert [int(size) for size in features["shape"]] == [-1, 4]


@pytest.mark.parametrize("way", [*WAYS, "defaults"])
def test_it_infers(answers: Any, way: str) -> None:
    answer = answers[way]
    assert answer["model"] == ["iris", "1", "seven"]
    assert answer["label"] == [0, 2]
    assert [row.index(max(row)) for row in answer["probabilities"]] == [0, 2]
    for row, same in zip(answer["probabilities"], answers["JSON"]["probabilities"], strict=True):
        assert row == pytest.approx(same, abs=1e-6)


def test_it_lists_the_repository(answers: Any) -> None:
    for way in ("JSON", "binary"):
        assert answers[way]["index"] == [{"name": "iris", "version": "1", "state": "READY", "reason": ""}]
