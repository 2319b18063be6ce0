"""Sends real photos, flowers, penguins or texts to the models, shows the answers and the time of each step."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from rich.console import Console
from rich.table import Table

from common.client.plain import curl_key, opened

SAMPLES = Path(__file__).parent / "samples"


def main(url: str) -> None:
    """Prints the response of `POST /predict/{model}` for each kind of input, and the time of each step."""
    console = Console()
    table = Table(title="prepared on one server, predicted on another", caption="ms: prepare + transfer + predict")
    for heading, width in (("model", None), ("input", 12), ("answer", None), ("ms", None)):
        table.add_column(heading, no_wrap=True, width=width)
    offered = _offered(url)
    for model, told in offered.items():
        for body, given, truth in _questions(told):
            _row(table, model, given, truth, *_ask(f"{url}/predict/{model}", body))
    console.print(table)
    if "penguins" in offered:
        wrong, _ = _ask(f"{url}/predict/penguins", b'{"instances": [{"body_mass_g": "heavy"}]}')
        console.print(f"\na wrong value gets an error that names it: {wrong['detail']}")
    console.print("\nsend a request yourself:", highlight=False)
    model, told = next(iter(offered.items()))
    console.print(
        f"  curl {url}/predict/{model}{curl_key()} {_arguments(told)}", soft_wrap=True, highlight=False, markup=False
    )


def _offered(url: str) -> dict[str, dict[str, str]]:
    """The models in their order, each with the properties that prep publishes."""
    with opened(f"{url}/metadata") as answer:
        halves = json.load(answer)["predictors"]
    return {one["model"]: one["properties"] for one in halves if "examples" in one.get("properties", {})}


def _questions(told: dict[str, str]) -> Iterator[tuple[bytes, str, str]]:
    """Request bodies, each with a short form of its input and the correct answer (empty where it is not known)."""
    examples: list[dict[str, Any]] = json.loads(told["examples"])
    if told["kind"] == "picture":
        for photo in sorted(SAMPLES.glob("*.jpg")):
            truth = next((one["answer"] for one in examples if one["photo"] == photo.name), "")
            yield photo.read_bytes(), photo.name, truth
    else:
        for one in examples[:3]:
            yield _body(one["item"]).encode(), _short(one["item"]), one["answer"]


def _arguments(told: dict[str, str]) -> str:
    """The arguments of a curl command that sends an example, from the root of the repository."""
    if told["kind"] == "picture":
        return "-H 'Content-Type: image/jpeg' --data-binary @patterns/prep_pred/samples/coffee.jpg"
    body = _body(json.loads(told["examples"])[0]["item"])
    return f"-H 'Content-Type: application/json' -d {shlex.quote(body)}"


def _body(item: Any) -> str:
    return json.dumps({"instances": [item]}, ensure_ascii=False)


def _ask(url: str, body: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """The answer, and its stages in milliseconds."""
    media = "image/jpeg" if body.startswith(b"\xff\xd8") else "application/json"
    try:
        with opened(url, body, {"Content-Type": media}) as answer:
            timing = answer.headers["Server-Timing"]
            return json.load(answer), dict(entry.split(";dur=") for entry in timing.split(", "))
    except HTTPError as error:
        return json.load(error), {}


def _row(table: Table, model: str, given: str, truth: str, answer: dict[str, Any], stages: dict[str, str]) -> None:
    (prediction,) = answer["predictions"]
    best = prediction["label"]
    times = " + ".join(f"{float(stages[stage]):.3g}" for stage in ("prepare", "transfer", "predict"))
    doubt = "" if truth in (best, "") else f", is {truth}"
    table.add_row(model, given, f"{best} {prediction['probabilities'][best]:.0%}{doubt}", times)


def _short(item: Any) -> str:
    return item if isinstance(item, str) else ", ".join(str(value) for value in item.values())
