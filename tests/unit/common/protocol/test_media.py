"""What a Content-Type says of a body, and which types leave that to the model."""

from __future__ import annotations

import pytest

from common.errors import UnsupportedMedia
from common.protocol.media import JSON, PICTURES, stated_media


@pytest.mark.parametrize(
    ("given", "stated"),
    [
        (None, ""),
        ("", ""),
        ("application/octet-stream", ""),
        ("application/x-www-form-urlencoded", ""),  # what `curl --data-binary` states
        ("image/jpeg", "image/jpeg"),
        (" IMAGE/PNG ; q=1", "image/png"),
        ("application/json; charset=utf-8", JSON),
    ],
)
def test_an_unspecific_type_states_nothing(given: str | None, stated: str) -> None:
    headers = {} if given is None else {b"content-type": given.encode()}
    assert stated_media(headers, (*PICTURES, JSON)) == stated


@pytest.mark.parametrize("given", ["text/csv", "image/gif", "multipart/form-data; boundary=x", JSON])
def test_another_type_is_refused_by_name(given: str) -> None:
    with pytest.raises(UnsupportedMedia, match=r"Content-Type: expected image/jpeg, image/png or none, got '"):
        stated_media({b"content-type": given.encode()}, PICTURES)
