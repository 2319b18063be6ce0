"""The table of patterns: one row per pattern and variant, which every test in tests/conformance/ runs over.

A new pattern adds a module with its rows here, with samples where it has none yet, and no test.
"""

from __future__ import annotations

from tests.patterns import parallel, prep_pred, serial, synchronous, web_single
from tests.rows import Row

ROWS: tuple[Row, ...] = (
    *web_single.ROWS,
    *synchronous.ROWS,
    *prep_pred.ROWS,
    *serial.ROWS,
    *parallel.ROWS,
)


def rows(patterns: list[str] | None, *, default_only: bool) -> list[Row]:
    """The rows of these patterns, or of all of them."""
    return [row for row in ROWS if (not patterns or row.pattern in patterns) and not (default_only and row.variant)]
