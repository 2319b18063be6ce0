"""What the tests of parallel have in common: questions, each predictor's own answer, and what makes one of those."""

from __future__ import annotations

import json
from typing import Any

import httpx

from runtimes.base import Stack

COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
LABELS = ("setosa", "versicolor", "virginica")
CLASSIFIERS = ("iris", "iris_rf", "iris_mlp")
SERVICES = {"iris": "iris", "iris_rf": "iris-rf", "iris_mlp": "iris-mlp", "petal_width": "petal-width"}
# flowers 1, 60, 71 and 150 of the store; on 71 the classifiers disagree
ROWS = [[5.1, 3.5, 1.4, 0.2], [5.2, 2.7, 3.9, 1.4], [5.9, 3.2, 4.8, 1.8], [5.9, 3.0, 5.1, 1.8]]
ITEMS = ["1", "60", "71", "150"]


def instances(*rows: list[float]) -> list[dict[str, float]]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def ask(stack: Stack, body: Any, path: str = "/predict", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(stack.url() + path, json=body, headers=named, timeout=10)


def predicted(stack: Stack, *rows: list[float], **rest: Any) -> dict[str, Any]:
    """The whole answer of POST /predict."""
    answer = ask(stack, {"instances": instances(*rows), **rest})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def own_answer(stack: Stack, name: str, *rows: list[float]) -> list[list[float]]:
    """What a predictor itself answers when nobody stands before it: rows of its first output."""
    width = 3 if name == "petal_width" else 4
    data = [value for row in rows for value in row[:width]]
    tensor = {"name": "features", "shape": [len(rows), width], "datatype": "FP32", "data": data}
    url = f"{stack.url(SERVICES[name])}/v2/models/{name}/infer"
    output = httpx.post(url, json={"inputs": [tensor]}, timeout=10).json()["outputs"][0]
    size = output["shape"][1]
    return [output["data"][at : at + size] for at in range(0, len(output["data"]), size)]


def events(text: str) -> list[dict[str, Any]]:
    """The events of a stream of JSON lines."""
    return [json.loads(line) for line in text.splitlines()]
