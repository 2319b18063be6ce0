"""JSON request bodies into typed values, with errors that name the field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from common.errors import InvalidInput, UnsupportedMedia

Value = TypeVar("Value")
_AT = re.compile(r"^(?P<reason>.*?)(?: - at `(?:key in )?\$\.?(?P<field>.*)`)?$", re.DOTALL)


def check_json(headers: Mapping[bytes, bytes]) -> None:
    """Raises UnsupportedMedia unless the content type is JSON or absent."""
    media = headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
    if media != b"application/json":
        raise UnsupportedMedia.at("Content-Type", f"expected application/json, got {media.decode('latin-1')[:60]}")


def decode_json(decoder: msgspec.json.Decoder[Value], body: bytes | memoryview) -> Value:
    """What `decoder` reads; InvalidInput naming the field otherwise."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        found = _AT.match(str(error))
        field, reason = (found["field"] or "body", found["reason"]) if found else ("body", str(error))
        raise InvalidInput.at(field, reason[:1].lower() + reason[1:]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput.at("body", f"is not valid JSON: {error}") from None
