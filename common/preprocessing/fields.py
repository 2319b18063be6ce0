"""Several things that are wrong with one request, as one error."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import FieldError, InvalidInput

MAX_REPORTED = 20


def wrong_fields(wrong: Sequence[FieldError]) -> InvalidInput:
    """One error for all of them, or for the first MAX_REPORTED."""
    wrong = wrong[:MAX_REPORTED]
    return InvalidInput("; ".join(f"{one.field}: {one.reason}" for one in wrong), fields=wrong)
