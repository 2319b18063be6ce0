"""An error about an enumeration names the allowed values, wherever the value stands."""

from __future__ import annotations

import enum
from typing import Any, Literal

import msgspec
import pytest

from common.errors import InvalidInput
from common.protocol.choices import convert
from common.protocol.json_body import decode_json


class Colour(enum.Enum):
    """What an enumeration is."""

    RED = "red"
    BLUE = "blue"


class Part(msgspec.Struct):
    """One element."""

    kind: Literal["a", "b"] | None = None
    colour: Colour = Colour.RED


class Whole(msgspec.Struct, rename={"by_name": "by-name"}):
    """A request or a file."""

    parts: list[Part] = []
    by_name: dict[str, Part] = {}
    size: Literal[1, 2] = 1


CASES = [
    ({"size": 3}, "size", "3, expected one of 1, 2"),
    ({"parts": [{}, {"kind": "x"}]}, "parts[1].kind", "'x', expected one of a, b"),
    ({"parts": [{"colour": "x"}]}, "parts[0].colour", "expected one of red, blue"),
    ({"by-name": {"x": {"colour": "y"}}}, "by-name[...].colour", "'y', expected one of red, blue"),
]


@pytest.mark.parametrize(("value", "field", "told"), CASES)
def test_a_request_and_a_file_are_told_the_allowed_values(value: Any, field: str, told: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        decode_json(msgspec.json.Decoder(Whole), msgspec.json.encode(value))
    assert refused.value.fields[0].field == field
    assert told in refused.value.fields[0].reason
    with pytest.raises(msgspec.ValidationError) as invalid:
        convert(value, Whole)
    assert told in str(invalid.value)


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"^Expected `int`, got `str` - at `\$.size`$"):
        convert({"size": "1"}, Whole)
