"""A request by the standard library, with the API key in API_KEY: for demos and other callers outside a service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from http.client import HTTPResponse
from urllib.error import HTTPError
from urllib.request import Request, urlopen

VARIABLE = "API_KEY"


def opened(
    url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout: float = 30
) -> HTTPResponse:
    """The response. Raises SystemExit if the service asks for another key, HTTPError for any other 4xx and 5xx."""
    try:
        response: HTTPResponse = urlopen(Request(url, body, {**(headers or {}), **key_header()}), timeout=timeout)
        return response
    except HTTPError as error:
        if error.code != 401:
            raise
        error.close()
        found = f"does not take the key in {VARIABLE}" if key_header() else "asks for an API key"
        raise SystemExit(f"error: {url}: the service {found}; run this again with {VARIABLE}=KEY") from None


def key_header() -> dict[str, str]:
    key = os.environ.get(VARIABLE)
    return {"Authorization": f"Bearer {key}"} if key else {}


def curl_key() -> str:
    """The argument of curl that sends the key, without the key itself."""
    return f' -H "Authorization: Bearer ${VARIABLE}"' if key_header() else ""
