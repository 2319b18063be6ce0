"""The page at `/`, to try a service in a browser: static files, which are read once at start and kept in memory.

The files are a fixed table, so no part of a request is used as a path. The page reads `GET /metadata`. The form of a
pattern, and how it shows a response, are in the `panel.js` of that pattern.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response

HERE = Path(__file__).parent
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".json": "application/json",
}
NOT_SENT = re.compile(
    rb"^[ \t]*(?://[^\n]*\n|/\*\*.*?\*/\n)?", re.DOTALL | re.MULTILINE
)  # of a script: comments that have their lines to themselves, and indentation
SHOWN = {".jpg", ".png", ".json"}  # a folder of samples also has a file with their licences
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",  # the icon, and an image that the user has chosen
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file in memory, with its response headers."""

    body: bytes
    headers: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> StaticFile:
        """Reads a file. Raises OSError when it cannot be read, KeyError when its suffix is not in MEDIA_TYPES.

        Scripts are sent without the comments that stand on lines of their own, and without indentation: a tenth of the
        page. No text in them goes over several lines.
        """
        body = path.read_bytes()
        if path.suffix == ".js":
            body = NOT_SENT.sub(b"", body)
        headers = {
            "content-type": MEDIA_TYPES[path.suffix],
            "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
            "cache-control": "no-cache",  # browsers revalidate it each time, so a new release appears at once
            "content-security-policy": CONTENT_SECURITY_POLICY,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }
        return cls(body, headers)

    def response(self, if_none_match: str) -> Response:
        """304 when the client has this file in its cache, else 200 with the file."""
        cached = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
        if cached & {self.headers["etag"], "*"}:
            return Response(status_code=304, headers=self.headers)
        return Response(self.body, headers=self.headers)


def sample_names(folder: Path | None) -> list[str]:
    """The names of the sample inputs in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.suffix in SHOWN) if folder else []


def page_routes(panel: Path | None = None, samples: Path | None = None) -> APIRouter:
    """The routes of the page: `/` and the files it loads, under `/page/`.

    `panel` is the ES module of the pattern. It exports `about` (one sentence about the pattern) and
    `mount(element, context)`. Without one, the default panel sends requests of the Open Inference Protocol. `samples`
    is a folder of sample inputs, which are served at `/samples/<name>`. All files are read here, so a missing file
    fails the start of the service (OSError) and no request.
    """
    files = {
        "/": HERE / "index.html",
        "/page/page.css": HERE / "page.css",
        "/page/page.js": HERE / "page.js",
        "/page/parts.js": HERE / "parts.js",
        "/page/key.js": HERE / "key.js",
        "/page/samples.js": HERE / "samples.js",
        "/page/tensors.js": HERE / "tensors.js",
        "/page/csv.js": HERE / "csv.js",
        "/page/panel.js": panel or HERE / "tensors.js",
        **{f"/samples/{name}": samples / name for name in sample_names(samples) if samples},
    }
    router = APIRouter()
    for url, path in files.items():
        router.add_api_route(url, _endpoint(StaticFile.read(path)), methods=["GET", "HEAD"], include_in_schema=False)
    return router


def _endpoint(file: StaticFile) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        return file.response(request.headers.get("if-none-match", ""))

    return respond
