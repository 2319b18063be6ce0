"""Sends photos to the running API, one of them as a job, an incomplete file, and the photos of an inspection line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from rich.console import Console
from rich.table import Table

from common.client.plain import curl_key, key_header, opened
from patterns.synchronous.inspection import ClassifyClient, InspectionLine

SAMPLES = Path(__file__).parent / "samples"


def main(url: str) -> None:
    """Prints the response of `POST /classify` for the sample photos, or for the examples of a model of values."""
    console = Console(highlight=False)
    with opened(f"{url}/metadata") as answer:
        model = json.load(answer)["model"]
    if model and model["inputs"][0]["features"]:
        _values(console, url, model)
        return
    photos = {path.name: path.read_bytes() for path in sorted(SAMPLES.glob("*.jpg"))}
    console.print(_table(url, photos))
    _hand_over(console, url, photos["chelsea.jpg"])
    _, refusal, _ = _ask(f"{url}/classify", photos["chelsea.jpg"][:5000])
    console.print(f"\nan incomplete file is refused: {refusal['detail']}")
    console.print("\nan inspection line that expects cats:")
    line = InspectionLine(
        ClassifyClient(url, key_header()), frozenset({"tabby", "tiger cat"}), min_probability=0.3, seconds=2
    )
    parts = [(name, photos[name]) for name in ("chelsea.jpg", "coffee.jpg", "rocket.jpg", "camera.jpg")]
    for verdict in line.run(parts):
        console.print(f"  {verdict.action:6} {verdict.part}: {verdict.reason}")
    console.print("\nsend a request yourself:")
    sample = (SAMPLES / "chelsea.jpg").relative_to(Path.cwd()) if SAMPLES.is_relative_to(Path.cwd()) else SAMPLES
    console.print(
        f"  curl {url}/classify{curl_key()} -H 'Content-Type: image/jpeg' --data-binary @{sample}", soft_wrap=True
    )


def _values(console: Console, url: str, model: dict[str, Any]) -> None:
    """Sends the examples of a model that takes named values, as the variant estimator does."""
    names = [feature["name"] for feature in model["inputs"][0]["features"]]
    body = ""
    for example in (one for one in model["examples"] if "features" in one):
        given = example["features"]
        body = json.dumps(given if isinstance(given, dict) else dict(zip(names, given, strict=True)))
        with opened(f"{url}/classify", body.encode(), {"Content-Type": "application/json"}) as answer:
            best = json.load(answer)["predictions"][0]
        truth = f", is {example['answer']}" if "answer" in example else ""
        console.print(f"{body}: {best['label']} ({best['probability']:.0%}){truth}", soft_wrap=True)
    console.print("\nsend a request yourself:")
    console.print(f"  curl {url}/classify{curl_key()} -H 'Content-Type: application/json' -d '{body}'", soft_wrap=True)


def _ask(url: str, photo: bytes | None = None, prefer: str = "") -> tuple[int, dict[str, Any], dict[str, str]]:
    headers = {"Content-Type": "image/jpeg", **({"Prefer": prefer} if prefer else {})}
    try:
        with opened(url, photo, headers) as answer:
            return answer.status, json.load(answer), dict(answer.headers)
    except HTTPError as error:
        with error:
            return error.code, json.load(error), dict(error.headers)


def _table(url: str, photos: dict[str, bytes]) -> Table:
    table = Table(title="what the photos show", title_justify="left")
    for heading in ("photo", "most probable", "second", "time of each stage, ms"):
        table.add_column(heading)
    for name, photo in photos.items():
        _, body, headers = _ask(f"{url}/classify?top=2", photo)
        best = [f"{one['label']} ({one['probability']:.0%})" for one in body["predictions"]]
        table.add_row(name, *best, _times({name.lower(): value for name, value in headers.items()}["server-timing"]))
    return table


def _times(header: str) -> str:
    stages = (entry.partition(";dur=") for entry in header.split(", "))
    return ", ".join(f"{name} {float(duration):.1f}" for name, _, duration in stages)


def _hand_over(console: Console, url: str, photo: bytes) -> None:
    status, job, headers = _ask(f"{url}/classify", photo, "respond-async, wait=0")
    console.print(f"\nwithout waiting: {status}, {job['status']}, Location: {headers['location']}")
    _, body, _ = _ask(f"{url}{headers['location']}?wait=10")
    console.print(f"fetched later: {body['status']}, {body['result']['predictions'][0]}")
