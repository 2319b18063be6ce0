"""The rows of serial."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.asking import serial
from tests.oip import texts
from tests.patterns.checks import (
    JPEG,
    Check,
    wrong_pictures,
)
from tests.rows import Array, Inference, Page, Request, Row


def reads(name: str, lines: int) -> Check:
    """So many of the first lines of a sample are read, or all but two of them."""

    def check(response: Any) -> None:
        wanted = set(serial.expected(name)[:lines])
        assert len(wanted & {line["text"] for line in response["lines"]}) >= len(wanted) - 2

    return check


def reads_page(outputs: dict[str, Array]) -> None:
    assert set(serial.expected("page.json")[:6]) <= set(outputs["texts"].tolist())
    assert outputs["boxes"].shape == (len(outputs["texts"]), 4)


DEFAULT = Row(
    pattern="serial",
    variant=None,
    services=("orientation", "detection", "recognition", "recognition-heavy", "proxy"),
    entry="proxy",
    predictors=serial.STAGES,
    requests=(
        Request("/read", serial.sample("page.jpg"), reads("page.json", 6), JPEG),
        Request("/read", serial.sample("invoice_turned.jpg"), reads("invoice.json", 41), JPEG),
    ),
    wrong=wrong_pictures("/read", "picture", serial.sample("page.jpg")[:9000]),
    inference=Inference("serial", lambda: {"image": texts(serial.sample("page.jpg"))}, reads_page),
    page=Page(".lines tbody tr", "Page", "Region-based segmentation"),
    stages=(*serial.STAGES, "own"),
    route="/read",
    behind={stage: f"predictor {stage}" for stage in serial.STAGES[:3]},
    callers=2,
)

ROWS = (
    DEFAULT,
    replace(
        DEFAULT,
        variant="all_in_one",
        services=("api",),
        entry="api",
        predictors=("api",),
        behind={},
    ),
)
