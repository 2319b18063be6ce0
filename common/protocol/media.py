"""The Content-Type of a request, for routes that take pictures or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.errors import UnsupportedMedia

JSON, PICTURES = "application/json", ("image/jpeg", "image/png")
# Types that say nothing of the body: `curl --data-binary` states the last one, whatever it sends.
UNSPECIFIC = ("application/octet-stream", "application/x-www-form-urlencoded")


def stated_media(headers: Mapping[bytes, bytes], accepted: Sequence[str]) -> str:
    """The type that a request states; "" when it states none or an unspecific one, so that the model decides.

    Raises UnsupportedMedia for a type that is not among `accepted`.
    """
    given = headers.get(b"content-type", b"").decode("latin-1")
    media = given.partition(";")[0].strip().lower()
    if not media or media in UNSPECIFIC:
        return ""
    if media not in accepted:
        raise UnsupportedMedia.at("Content-Type", f"expected {', '.join(accepted)} or none, got {media[:60]!r}")
    return media
