"""Generates the tables of settings in the documentation from the settings classes.

A table is between `<!-- settings: module:Class -->` and `<!-- end of settings -->` on a page.
`python -m tools.settings_table PAGE...` updates the tables of these pages.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from common.settings import ServiceSettings

_BLOCK = re.compile(r"(<!-- settings: ([\w.]+):(\w+) -->\n).*?(<!-- end of settings -->)", re.DOTALL)


def table(settings: type[ServiceSettings]) -> str:
    """A Markdown table with a row for each field. A subclass has only the fields that it adds to ServiceSettings."""
    common = set(ServiceSettings.model_fields) if settings is not ServiceSettings else set()
    rows = [
        f"| `{name.upper()}` | {_default(field.default)} | {field.description} |"
        for name, field in settings.model_fields.items()
        if name not in common
    ]
    return "\n".join(("| variable | default | what |", "|---|---|---|", *rows)) + "\n"


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{shown}`" if shown else ""


def filled(page: str) -> str:
    """A page whose tables are generated from the settings."""

    def fill(block: re.Match[str]) -> str:
        settings = getattr(importlib.import_module(block[2]), block[3])
        return f"{block[1]}{table(settings)}{block[4]}"

    return _BLOCK.sub(fill, page)


def main() -> None:
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(filled(path.read_text()))


if __name__ == "__main__":
    main()
