"""NVIDIA's client for the Open Inference Protocol asks both models unchanged: prepared numbers, and whole pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from common.inference.manifest import Manifest
from common.preprocessing.steps import preparer
from runtimes.base import Stack
from tests.asking.synchronous import COFFEE, opened, post, shares
from tests.conftest import Start

SCRIPT = Path(__file__).parents[2] / "clients" / "triton_pictures.py"


def asked(stack: Stack, model: str, file: Path) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPT), urlsplit(stack.url()).netloc, stack.grpc(), model, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_numbers_that_were_prepared_elsewhere(http: httpx.Client, start_shared: Start, tmp_path: Path) -> None:
    stack = start_shared("synchronous")
    manifest = Manifest.model_validate(http.get(f"{stack.url()}/metadata").json()["model"])
    np.savez(tmp_path / "image.npz", image=preparer(manifest).prepare(opened("coffee.jpg"))["image"])
    answers = asked(stack, "imagenet_lite0", tmp_path / "image.npz")
    for way in ("http", "grpc"):
        logits = np.array(answers[way]["logits"][0])
        assert manifest.labels[int(logits.argmax())] == "espresso"
        expected = shares(post(http, stack.url(), COFFEE))["espresso"]
        assert (np.exp(logits) / np.exp(logits).sum()).max() == pytest.approx(expected, abs=1e-4)


def test_a_picture_as_it_is(http: httpx.Client, start_shared: Start, tmp_path: Path) -> None:
    stack = start_shared("synchronous", "end_to_end")
    np.savez(tmp_path / "pixels.npz", pixels=np.asarray(opened("coffee.jpg"))[None])
    answers = asked(stack, "imagenet_lite0_end_to_end", tmp_path / "pixels.npz")
    expected = shares(post(http, stack.url(), COFFEE))
    for way in ("http", "grpc"):
        assert answers[way]["labels"][0][0] == "espresso"
        assert answers[way]["scores"][0][0] == pytest.approx(expected["espresso"], abs=1e-4)
