"""Pages to read, and what a reading of them says."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from runtimes.base import Stack
from tests.support import client, metric

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "patterns" / "serial" / "samples"
STAGES = ("orientation", "detection", "recognition", "recognition-heavy")
TIMEOUT = "X-Request-Timeout-Seconds"
Reading = dict[str, Any]


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def picture(name: str) -> Image.Image:
    return Image.open(SAMPLES / name).convert("RGB")


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def post(base: str, body: bytes, **headers: str) -> httpx.Response:
    given = {"Content-Type": "image/jpeg", **headers}
    return client().post(f"{base}/read", content=body, headers=given, timeout=30)  # 41 lines take a busy machine long


def read(base: str, body: bytes) -> Reading:
    """What a service reads on a page, which it has to be able to."""
    answer = post(base, body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def texts(reading: Reading) -> list[str]:
    return [line["text"] for line in reading["lines"]]


def expected(name: str) -> list[str]:
    """What one reads on a sample, by its JSON file."""
    return list(json.loads(sample(name))["lines"])


def runs(stack: Stack, stage: str) -> float:
    """How many times a stage's model has been run."""
    return metric(stack.url(stage), "serving_inference_duration_seconds_count", stage="infer")


def all_runs(stack: Stack) -> dict[str, float]:
    return {stage: runs(stack, stage) for stage in STAGES}
