"""What is wrong with a field of model.yaml, in words: pydantic's own name its rule, and neither value nor remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

EXPECTED = {
    "name": "1 to 100 letters, digits, '_', '.' and '-', a letter or digit first",
    "version": "a number in quotes, such as '1'",
    "sha256": "64 hexadecimal digits in lower case, as `sha256sum` prints them",
}


def reasons(errors: list[ErrorDetails], known: Mapping[str, list[str]]) -> str:
    """All errors in one line, each with its field. `known` are the keys of a part of the manifest, by its name."""
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'file'}: {_reason(one, known)}" for one in errors)


def _reason(error: ErrorDetails, known: Mapping[str, list[str]]) -> str:
    names = [str(one) for one in error["loc"] if isinstance(one, str)]
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "extra_forbidden":
        part = names[-2] if len(names) > 1 else ""
        return f"unknown key, expected one of: {', '.join(known.get(part, []))}"
    found = _shown(error["input"])
    if error["type"] == "string_pattern_mismatch":
        return f"found {found}, expected {EXPECTED.get(names[-1], EXPECTED['sha256'])}"
    if error["type"] == "string_type":
        quotes = "; put it in quotes" if isinstance(error["input"], bool | int | float) else ""
        return f"found {found}, expected text{quotes}"
    return f"found {found}, {error['msg'].replace('Input should be', 'expected', 1)}"


def _shown(value: Any) -> str:
    if isinstance(value, str | bool | int | float) or value is None:
        return "nothing" if value is None else repr(value)[:60]
    if isinstance(value, dict):
        return "keys with values"
    return "a list" if isinstance(value, list) else type(value).__name__
