"""Sends real flowers to the running API in one request and shows the predictions; then sends a wrong request."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from rich.console import Console
from rich.table import Table


def main(url: str) -> None:
    """Prints the response of `POST /predict` for the model's own examples."""
    console = Console()
    model = _ask(f"{url}/metadata")["model"]
    names = [feature["name"] for feature in model["inputs"][0]["features"]]
    rows = [dict(zip(names, example["features"], strict=True)) for example in model["examples"]]
    answer = _ask(f"{url}/predict", {"instances": rows})
    truth = [str(example["answer"]) for example in model["examples"]]
    console.print(_table(model["title"], rows, answer["predictions"], truth))
    wrong = _ask(f"{url}/predict", {"instances": [{**rows[0], names[0]: "long"}]})
    console.print(f"\na wrong request gets an error for each field: {wrong['detail']}")
    body = json.dumps({"instances": rows[:1]})
    console.print("\nsend a request yourself:", highlight=False)
    console.print(
        f"  curl {url}/predict -H 'Content-Type: application/json' -d '{body}'", soft_wrap=True, highlight=False
    )


def _ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    request = Request(url, json.dumps(body).encode() if body else None, {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
    except HTTPError as error:
        found = json.load(error)
    return found


def _table(title: str, rows: list[dict[str, float]], predictions: list[dict[str, Any]], truth: list[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in (*rows[0], "answer", "truth"):
        table.add_column(heading.replace("_", " "))
    for row, prediction, true in zip(rows, predictions, truth, strict=True):
        table.add_row(*(f"{value:g}" for value in row.values()), _text(prediction), true)
    return table


def _text(prediction: dict[str, Any]) -> str:
    if "label" in prediction:
        return f"{prediction['label']} ({prediction['probabilities'][prediction['label']]:.0%})"
    return f"{prediction['value']:.2f} {prediction['unit']}"
