"""Sends a rotated and a blurry invoice to the running proxy, and shows the lines and the time of each stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from common.client.plain import curl_key, opened

SAMPLES = Path(__file__).parent / "samples"


def main(url: str) -> None:
    """Prints the response of `POST /read` for the samples."""
    console = Console(highlight=False)
    reading, stages = _read(url, "invoice_turned.jpg")
    console.print(f"invoice_turned.jpg is rotated by {reading['turned']}°; its lines of text:\n")
    console.print(_layout(reading["lines"]))
    console.print(_table("time of each stage", stages))
    reading, _ = _read(url, "invoice_blurry.jpg")
    read_twice = [line for line in reading["lines"] if line["read_by"] == "recognition-heavy"]
    console.print(
        f"\ninvoice_blurry.jpg: {len(read_twice)} of {len(reading['lines'])} lines: the heavier model's text is better"
    )
    for line in read_twice[:5]:
        console.print(f"  {line['text']}  ({line['confidence']:.0%})", markup=False)
    console.print(
        f"\nall models are of release {reading['model_release']}: {', '.join(reading['models'].values())}",
        soft_wrap=True,
    )
    console.print("\nsend a request yourself:")
    console.print(
        f"  curl {url}/read{curl_key()} --data-binary @patterns/serial/samples/invoice_blurry.jpg", soft_wrap=True
    )


def _read(url: str, name: str) -> tuple[dict[str, Any], dict[str, float]]:
    """The response, and the milliseconds of its stages."""
    photo = (SAMPLES / name).read_bytes()
    with opened(f"{url}/read", photo, {"Content-Type": "image/jpeg"}, timeout=60) as answer:
        entries = (entry.split(";dur=") for entry in answer.headers["Server-Timing"].split(", "))
        return json.load(answer), {stage: float(duration) for stage, duration in entries}


def _layout(lines: list[dict[str, Any]], columns: int = 64) -> str:
    """The texts, arranged as on the page: lines of one row are next to each other."""
    start, end = min(line["box"][0] for line in lines), max(line["box"][2] for line in lines)
    rows: list[str] = []
    last = 0
    for line in lines:
        left, top, _, bottom = line["box"]
        column = columns * (left - start) // (end - start)
        if not rows or column <= len(rows[-1]) or (top + bottom) / 2 > last:  # the column is taken, or it lies below
            rows.append("")
        rows[-1] = f"{rows[-1]:<{column}}{line['text']}"
        last = bottom
    return "\n".join(f"  {row}" for row in rows)


def _table(title: str, stages: dict[str, float]) -> Table:
    table = Table("stage", "ms", title=f"\n{title}", title_justify="left")
    for stage, duration in stages.items():
        table.add_row(stage, f"{duration:.1f}")
    return table
