"""How the tests of prep_pred ask: every kind of input, the stacks of every layout, what a service has counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from common.inference.manifest import Manifest, read_manifest
from runtimes.base import Stack
from runtimes.errors import NoLocalSubstitute
from tests.conftest import Start
from tests.support import built, metric

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "patterns" / "prep_pred" / "samples"
MODELS = ("imagenet_lite0", "iris_standardised", "penguins", "text_language")
LAYOUTS = (None, "proxy", "balanced")
ENTRY = {None: "prep", "proxy": "proxy", "balanced": "prep"}
FINGERPRINT = "preprocessing_fingerprint"
TIMEOUT = "X-Request-Timeout-Seconds"
PENGUIN = {"island": "Biscoe", "sex": "female", "bill_length_mm": 46.1, "bill_depth_mm": 13.2,
           "flipper_length_mm": 211, "body_mass_g": 4500}  # fmt: skip


def start_layout(start: Start, layout: str | None, **env: str) -> Stack:
    """A stack of that layout; where nginx is not installed, tests that need it on local processes are skipped."""
    try:
        return start("prep_pred", layout, **env)
    except NoLocalSubstitute as error:
        if shutil.which("nginx"):
            raise
        pytest.skip(str(error))


def manifest(model: str) -> Manifest:
    return read_manifest(built(model) / "model.yaml")


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def predict(stack: Stack, model: str, *instances: Any, **headers: str) -> httpx.Response:
    """Asks the entry; one instance of bytes is a picture and goes as the body."""
    url = f"{stack.url()}/predict/{model}"
    if isinstance(instances[0], bytes):
        media = "image/png" if instances[0].startswith(b"\x89PNG") else "image/jpeg"
        return httpx.post(url, content=instances[0], headers={"Content-Type": media, **headers}, timeout=20)
    return httpx.post(url, json={"instances": instances}, headers=headers, timeout=20)


def labels(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["label"] for one in answer.json()["predictions"]]


def stages(answer: httpx.Response) -> dict[str, float]:
    """Milliseconds by stage, out of Server-Timing."""
    entries = (entry.split(";dur=") for entry in answer.headers["Server-Timing"].split(", "))
    return {name: float(duration) for name, duration in entries}


def inferences(stack: Stack, model: str | None = None) -> float:
    """How often the predictors have run a model, or any."""
    wanted = {"stage": "infer", **({"model": model} if model else {})}
    urls = stack.replicas("predictor")
    return sum(metric(url, "serving_inference_duration_seconds_count", **wanted) for url in urls)


def items(model: str) -> list[tuple[Any, str]]:
    """Real instances of a model with their true answers: the examples of its model.yaml."""
    examples = manifest(model).examples
    if model != "imagenet_lite0":
        return [(one["item"], one["answer"]) for one in examples]
    return [(sample(one["photo"]), one["answer"]) for one in examples if (SAMPLES / one["photo"]).exists()]


def element(instance: Any) -> bytes:
    """An instance as an element of the tensor `instances`."""
    if isinstance(instance, bytes):
        return instance
    return instance.encode() if isinstance(instance, str) else json.dumps(instance).encode()
