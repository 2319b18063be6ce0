"""The page at `/`, to try a service in a browser: static files, read once at start and answered from memory.

What is served is a fixed table, so no part of a request ever becomes a path. The page learns everything from
`GET /metadata`; what only one pattern has (its form, its way to show an answer) is that pattern's own `panel.js`.
"""

from __future__ import annotations

import hashlib
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
SHOWN = {".jpg", ".png", ".json"}  # of a folder of samples, which holds their licences too
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' blob: data:",  # the icon; a picture that a visitor picked
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file in memory, with the headers that it is answered with."""

    body: bytes
    headers: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> StaticFile:
        """Reads `path`; OSError when it is missing, KeyError when its suffix has no media type here."""
        body = path.read_bytes()
        headers = {
            "content-type": MEDIA_TYPES[path.suffix],
            "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
            "cache-control": "no-cache",  # kept, but asked about each time: a new release shows at once
            "content-security-policy": CONTENT_SECURITY_POLICY,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }
        return cls(body, headers)

    def answer(self, if_none_match: str) -> Response:
        """304 when the caller holds this very file, else 200 with the file."""
        held = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
        if held & {self.headers["etag"], "*"}:
            return Response(status_code=304, headers=self.headers)
        return Response(self.body, headers=self.headers)


def sample_names(folder: Path | None) -> list[str]:
    """The files of a folder that a visitor may try the service with; none without a folder."""
    return sorted(path.name for path in folder.iterdir() if path.suffix in SHOWN) if folder else []


def page_routes(panel: Path | None = None, samples: Path | None = None) -> APIRouter:
    """The routes of the page: `/` and the files it loads, under `/page/`.

    `panel` is the pattern's own ES module, which exports `about` (one sentence on the pattern) and
    `mount(element, context)`; without one, the stock panel asks any model over the Open Inference Protocol. `samples`
    is a folder of small files to try the service with; they are answered at `/samples/<name>`.
    Every file is read here, so one that is missing fails the start (OSError) and not a visitor.
    """
    files = {
        "/": HERE / "index.html",
        "/page/page.css": HERE / "page.css",
        "/page/page.js": HERE / "page.js",
        "/page/parts.js": HERE / "parts.js",
        "/page/samples.js": HERE / "samples.js",
        "/page/tensors.js": HERE / "tensors.js",
        "/page/panel.js": panel or HERE / "tensors.js",
        **{f"/samples/{name}": samples / name for name in sample_names(samples) if samples},
    }
    router = APIRouter()
    for url, path in files.items():
        router.add_api_route(url, _endpoint(StaticFile.read(path)), methods=["GET", "HEAD"], include_in_schema=False)
    return router


def _endpoint(file: StaticFile) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return file.answer(request.headers.get("if-none-match", ""))

    return answer
