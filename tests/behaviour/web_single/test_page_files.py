"""The files of the page at `/`: how they are sent, and that nothing else is."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import httpx
import pytest

from runtimes.base import Stack
from tests.conftest import Start

FILES = {
    "/": "text/html; charset=utf-8",
    "/page/page.css": "text/css; charset=utf-8",
    "/page/page.js": "text/javascript; charset=utf-8",
    "/page/parts.js": "text/javascript; charset=utf-8",
    "/page/key.js": "text/javascript; charset=utf-8",
    "/page/samples.js": "text/javascript; charset=utf-8",
    "/page/panel.js": "text/javascript; charset=utf-8",
    "/page/csv.js": "text/javascript; charset=utf-8",
    "/page/tensors.js": "text/javascript; charset=utf-8",
}


@pytest.fixture
def stack(start_shared: Start) -> Stack:
    return start_shared("web_single")


@pytest.mark.parametrize(("path", "media_type"), FILES.items())
def test_file_is_sent_once_and_then_confirmed(stack: Stack, path: str, media_type: str) -> None:
    first = httpx.get(stack.url() + path)
    assert (first.status_code, first.headers["content-type"]) == (200, media_type)
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["x-content-type-options"] == "nosniff"
    policy = first.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    etag = first.headers["etag"]
    for held in (etag, f'"other", W/{etag}', "*"):
        again = httpx.get(stack.url() + path, headers={"if-none-match": held})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert httpx.get(stack.url() + path, headers={"if-none-match": '"other"'}).content == first.content
    head = httpx.head(stack.url() + path)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(first.content)))


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page/__init__.py", "/page/../app.py", "/page/..%2fapp.py", "/page/%2e%2e/app.py", "/page//etc/passwd"],
)
def test_nothing_but_the_files_is_served(stack: Stack, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(stack.url()).netloc, timeout=5)  # sends the path as it is written
    connection.request("GET", path)
    assert connection.getresponse().status == 404
    connection.close()
