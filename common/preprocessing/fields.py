"""One error for several invalid fields of a request."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import FieldError, InvalidInput

MAX_REPORTED = 20


def wrong_fields(wrong: Sequence[FieldError], kind: type[InvalidInput] = InvalidInput) -> InvalidInput:
    """An error that lists these fields with their reasons, at most the first MAX_REPORTED."""
    wrong = wrong[:MAX_REPORTED]
    return kind("; ".join(f"{one.field}: {one.reason}" for one in wrong), fields=wrong)
