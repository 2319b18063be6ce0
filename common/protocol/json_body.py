"""Decodes JSON request bodies to typed values. Errors name the field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from common.errors import InvalidInput, PayloadTooLarge, UnsupportedMedia
from common.protocol.choices import explained

Payload = bytes | memoryview  # a body; a large one is a view of the buffer that it was read into
Value = TypeVar("Value")
_JSON = b"application/json"
MAX_BYTES = 8_000_000  # decoded objects take up to 25 times the memory of their JSON, for example [[],[],[]]
_AT = re.compile(r"^(?P<reason>.*?)(?: - at `(?:key in )?\$\.?(?P<field>.*)`)?$", re.DOTALL)


def check_json(headers: Mapping[bytes, bytes]) -> None:
    """Raises UnsupportedMedia unless the content type is JSON or absent."""
    content_type = headers.get(b"content-type", _JSON)
    if content_type == _JSON:
        return
    media = content_type.partition(b";")[0].strip().lower()
    if media != _JSON:
        raise UnsupportedMedia.at("Content-Type", f"expected application/json, got {media.decode('latin-1')[:60]}")


def decode_json(decoder: msgspec.json.Decoder[Value], body: Payload | msgspec.Raw, at: str = "") -> Value:
    """Decodes a body. `at` is the field that the body is part of, if it is part of another one.

    Raises InvalidInput that names the field, and PayloadTooLarge.
    """
    size = memoryview(body).nbytes
    if size > MAX_BYTES:
        raise PayloadTooLarge.at(
            "body", f"expected at most {MAX_BYTES} bytes of JSON, got {size}; send tensors as binary data"
        )
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        found = _AT.match(explained(str(error), decoder.type))
        assert found is not None  # the pattern matches any text
        reason = found["reason"][:1].lower() + found["reason"][1:]  # the rest may quote the request
        raise InvalidInput.at(f"{at}{found['field'] or ''}" or "body", reason) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput.at(at or "body", f"is not valid JSON: {error}") from None
