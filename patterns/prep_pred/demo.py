"""Sends a photo, a flower, penguins with values missing and texts, and shows the answers and where the time went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from rich.console import Console
from rich.table import Table

SAMPLES = Path(__file__).parent / "samples"
KINDS = ("iris_standardised", "penguins", "text_language")


def main(url: str) -> None:
    """Prints what `POST /predict/{model}` says of each kind of input, and how long each half took."""
    console = Console()
    table = Table(title="prepared on one server, predicted on another", caption="ms: prepare + transfer + predict")
    for heading, width in (("model", None), ("input", 12), ("answer", None), ("ms", None)):
        table.add_column(heading, no_wrap=True, width=width)
    examples = _examples(url)
    for photo in sorted(SAMPLES.glob("*.jpg")):
        truth = next((one["answer"] for one in examples["imagenet_lite0"] if one["photo"] == photo.name), "")
        _row(table, "imagenet_lite0", photo.name, truth, *_ask(f"{url}/predict/imagenet_lite0", photo.read_bytes()))
    for model in KINDS:
        for example in examples.get(model, [])[:3]:
            body = json.dumps({"instances": [example["item"]]}).encode()
            _row(table, model, _short(example["item"]), example["answer"], *_ask(f"{url}/predict/{model}", body))
    console.print(table)
    wrong, _ = _ask(f"{url}/predict/penguins", b'{"instances": [{"body_mass_g": "heavy"}]}')
    console.print(f"\na wrong value is refused by name: {wrong['detail']}")
    console.print("\nask it yourself:", highlight=False)
    sample = "patterns/prep_pred/samples/coffee.jpg"
    line = f"  curl {url}/predict/imagenet_lite0 -H 'Content-Type: image/jpeg' --data-binary @{sample}"
    console.print(line, soft_wrap=True, highlight=False)


def _examples(url: str) -> dict[str, list[dict[str, Any]]]:
    """Each model's real examples, as prep states them."""
    with urlopen(f"{url}/metadata", timeout=10) as answer:
        halves = [one for one in json.load(answer)["predictors"] if "examples" in one.get("properties", {})]
    return {one["model"]: json.loads(one["properties"]["examples"]) for one in halves}


def _ask(url: str, body: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """The answer, and its stages in milliseconds."""
    media = "image/jpeg" if body.startswith(b"\xff\xd8") else "application/json"
    try:
        with urlopen(Request(url, body, {"Content-Type": media}), timeout=20) as answer:
            timing = answer.headers["Server-Timing"]
            return json.load(answer), dict(entry.split(";dur=") for entry in timing.split(", "))
    except HTTPError as error:
        return json.load(error), {}


def _row(table: Table, model: str, given: str, truth: str, answer: dict[str, Any], stages: dict[str, str]) -> None:
    (prediction,) = answer["predictions"]
    best = prediction["label"]
    times = " + ".join(f"{float(stages[stage]):.3g}" for stage in ("prepare", "transfer", "predict"))
    doubt = "" if best == truth else f", is {truth}"
    table.add_row(model, given, f"{best} {prediction['probabilities'][best]:.0%}{doubt}", times)


def _short(item: Any) -> str:
    return item if isinstance(item, str) else ", ".join(str(value) for value in item.values())
