"""A measured number in the documentation comes from bench/results: `make docs` writes it, nobody types it."""

from __future__ import annotations

import re
from pathlib import Path

from tools.numbers import COMMENT, NUMBER, UNITS, UnknownNumber, filled

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "k8s" / "README.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "patterns").glob("*/README.md"),
    ]
)
GENERATED = re.compile(
    r"<!-- (?:missed|settings): .*?<!-- end of (?:missed|settings) -->|^```.*?^```$|`[^`\n]+`", re.M | re.S
)
TYPED = re.compile(rf"(?<![\w.])\d[\d.,]* (?:{'|'.join(map(re.escape, UNITS))})(?!\w)")


def offences(page: str) -> list[str]:
    """What is wrong with the numbers of a page, a line each."""
    try:
        stale = [] if filled(page) == page else ["numbers differ from bench/results: run `make docs`"]
    except UnknownNumber as error:
        return [str(error)]
    without_number = [f"no number stands before {found}" for found in COMMENT.findall(NUMBER.sub("", page))]
    typed = [f"typed by hand: {found}" for found in TYPED.findall(GENERATED.sub("", NUMBER.sub("", page)))]
    return stale + without_number + typed


def test_measured_numbers_come_from_the_last_run() -> None:
    found = [f"{path.relative_to(ROOT)}: {one}" for path in PAGES for one in offences(path.read_text())]
    assert not found, "\n".join(found)
