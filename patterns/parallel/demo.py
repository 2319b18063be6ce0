"""Flowers on which the predictors agree, one on which they disagree, every way to combine answers, and a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

from rich.console import Console
from rich.table import Table

from common.client.plain import curl_key, opened

FLOWERS = ("1", "51", "71", "150")


def main(url: str) -> None:
    """Sends real flowers to the running proxy and prints the answers."""
    console = Console()
    with opened(f"{url}/samples/iris.json") as answer:
        samples = json.load(answer)
    rows = [dict(zip(samples["columns"], samples["items"][flower], strict=True)) for flower in FLOWERS]
    ways = {how: _ask(url, rows, how) for how in ("all", "vote", "mean", "best")}
    console.print(_everyone(ways["all"]["answers"]))
    console.print(_together(ways))
    console.print("\neach answer when it arrives, POST /predict/stream:", highlight=False)
    for event in _stream(url, rows[:1]):
        if "name" in event:
            console.print(f"  {event['ms']:7.2f} ms  {event['name']}", highlight=False)
    body = json.dumps({"instances": rows[:1], "aggregate": "vote"})
    console.print("\nsend a request yourself:", highlight=False)
    console.print(
        f"  curl {url}/predict{curl_key()} -H 'Content-Type: application/json' -d '{body}'",
        soft_wrap=True,
        highlight=False,
    )


def _ask(url: str, rows: list[dict[str, float]], how: str) -> dict[str, Any]:
    with _posted(f"{url}/predict", {"instances": rows, "aggregate": how}) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _stream(url: str, rows: list[dict[str, float]]) -> Iterator[dict[str, Any]]:
    with _posted(f"{url}/predict/stream", {"instances": rows}) as answer:
        for line in answer:
            yield json.loads(line)


def _posted(url: str, body: dict[str, Any]) -> HTTPResponse:
    return opened(url, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _everyone(answers: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table(title="the answer of each predictor", title_justify="left")
    for heading in ("predictor", *(f"flower {flower}" for flower in FLOWERS)):
        table.add_column(heading)
    for name, rows in answers.items():
        table.add_row(name, *map(_text, rows))
    return table


def _together(ways: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="the combined answer", title_justify="left")
    for heading in ("aggregate", *(f"flower {flower}" for flower in FLOWERS)):
        table.add_column(heading)
    for how, answer in ways.items():
        table.add_row(how, *map(_text, answer["predictions"]))
    return table


def _text(prediction: dict[str, Any]) -> str:
    if "value" in prediction:
        return f"{prediction['value']:.2f} {prediction['unit']}"
    if "votes" in prediction:
        return (
            f"{prediction['label']} ({prediction['votes'][prediction['label']]} of {sum(prediction['votes'].values())})"
        )
    return f"{prediction['label']} ({prediction['probabilities'][prediction['label']]:.0%})" + (
        f" {prediction['by']}" if "by" in prediction else ""
    )
