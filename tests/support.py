"""What tests of running services have in common: requests that work, logs and metrics as values, patience."""

from __future__ import annotations

import asyncio
import atexit
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from runtimes import containers, processes, state_file
from runtimes.base import HTTP, Stack
from runtimes.kubernetes import KubernetesStack

ROOT = Path(__file__).parents[1]
SETOSA = [5.1, 3.5, 1.4, 0.2]
VIRGINICA = [6.3, 3.3, 6.0, 2.5]
SETOSA_BY_NAME = dict(zip(("sepal_length", "sepal_width", "petal_length", "petal_width"), SETOSA, strict=True))
INFER = "/v2/models/iris/infer"
Lines = list[dict[str, Any]]


def question(*rows: list[float], **rest: Any) -> dict[str, Any]:
    """The body of an infer request for iris."""
    flat = [value for row in rows for value in row]
    features = {"name": "features", "shape": [len(rows), 4], "datatype": "FP32", "data": flat}
    return {"inputs": [features], **rest}


def labels(answer: dict[str, Any]) -> list[int]:
    """The classes in an infer answer, one a row."""
    (found,) = (output["data"] for output in answer["outputs"] if output["name"] == "label")
    return list(found)


@cache
def client() -> httpx.Client:
    """One for all, since making one takes 50 ms; it never waits longer than ten seconds."""
    made = httpx.Client(timeout=10)
    atexit.register(made.close)
    return made


_fresh: set[str] = set()  # models that this process has built, or found built


def built(model: str, *beside: str) -> Path:
    """The folder of a model's version 1, as this machine builds it, wherever the stacks run.

    The models `beside` it are built along with it: each start of the builder takes seconds.
    """
    if missing := sorted({model, *beside} - _fresh):
        subprocess.run([sys.executable, "-m", "models", *missing], cwd=ROOT, check=True, capture_output=True)
        _fresh.update(missing)
    return ROOT / "models" / "build" / model / "1"


def eventually(holds: Callable[[], Any], seconds: float, what: str) -> Any:
    """Asks again and again until the answer is true, and gives it; AssertionError once `seconds` are over.

    Nobody there is no answer yet: a cluster takes what is not ready from its entry.
    """
    began = time.monotonic()
    while not (answer := _unless_nobody(holds)):
        waited = time.monotonic() - began
        assert waited < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(min(max(waited / 10, 0.02), 0.3))  # to ask may cost more than to wait: an engine starts processes
    return answer


def _unless_nobody(holds: Callable[[], Any]) -> Any:
    try:
        return holds()
    except httpx.ConnectError:
        return None


async def soon(holds: Callable[[], Any], what: str, seconds: float = 10) -> None:
    """The same, off the event loop that drives a test."""
    await asyncio.to_thread(eventually, holds, seconds, what)


def metric(base: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that bear these labels, by GET /metrics of `base`; 0 when there is none."""
    found = 0.0
    for family in text_string_to_metric_families(client().get(f"{base}/metrics").text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                found += sample.value
    return found


def log_lines(stack: Stack, service: str = "api", **fields: Any) -> Lines:
    """The JSON lines that a service has written so far, those with these fields."""
    texts = [line.partition("| ")[2] for line in stack.logs(service)]
    lines = [json.loads(text) for text in texts if text.startswith("{")]
    return [line for line in lines if fields.items() <= line.items()]


def direct_url(stack: Stack, service: str = "api") -> str:
    """A service's own address: the engine's proxy for published ports takes connections that nobody is behind."""
    for one in containers.of_project(f"sp-{stack.name}") if stack.runtime == "compose" else []:
        if service in (one.service, one.name) and one.ip:
            return f"http://{one.ip}:{HTTP}"
    return stack.url(service)


def readiness(stack: Stack, service: str = "api") -> httpx.Response:
    """What a service itself says to GET /readyz; a cluster takes from its entry what is unready."""
    return client().get(f"{direct_url(stack, service)}/readyz")


def exit_code(stack: Stack, service: str = "api") -> int | None:
    """How a service's process has ended; None while it runs."""
    if stack.runtime == "compose":
        found = [one for one in containers.of_project(f"sp-{stack.name}") if service in (one.service, one.name)]
        return found[0].exit_code if found[0].state == "exited" else None
    if isinstance(stack, KubernetesStack):
        pods = stack.pods(service)
        return pods[0].exit_code if pods else 0  # a pod that is gone has ended within its grace
    state = stack.options.directory.parent / ".run" / stack.name / "state.json"
    (process,) = (one.process for one in state_file.load(state) if one.instance.name == service)
    if process is None or processes.state_of(process).state != "ended":
        return None
    how = processes.exit_description(process)
    return int(how.removeprefix("exited with code ")) if how.startswith("exited with") else -1
