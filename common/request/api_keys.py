"""API keys: which callers may call, and how often.

A service knows only the SHA-256 of each key. That is enough, because a key is a random text of at least 32 bytes, which
nobody can guess. A file of keys is read again when it changes, so a key is added or withdrawn without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from common.errors import TooManyRequests, Unauthorized
from common.observability.log import Log
from common.request.context import RequestContext

RELOAD_SECONDS = 1.0
OPEN_PATHS = frozenset({"/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
OPEN_FOLDER = "/docs/assets/"  # style and code of the API documentation
_ENTRY = re.compile(r"(?P<name>[\w.-]{1,64}):(?P<digest>[0-9a-fA-F]{64})(?::(?P<rate>\d{1,9}(?:\.\d{1,6})?))?")
_FORM = "expected name:sha256 or name:sha256:requests_per_second, where sha256 is that of the key, as 64 digits"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key: the name of its tenant, its digest, and its own limit of requests per second, if it has one."""

    name: str
    digest: bytes
    rate: float | None = None


def parse_keys(text: str) -> list[ApiKey]:
    """The keys in a text: one a line, or separated by commas; `#` begins a comment.

    Raises ValueError that gives the position of a wrong entry, and not the entry, since that may be a key.
    """
    keys = []
    for number, line in enumerate(text.replace(",", "\n").splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        found = _ENTRY.fullmatch(entry)
        if found is None:
            raise ValueError(f"entry {number}: {_FORM}")
        rate = float(found["rate"]) if found["rate"] else None
        keys.append(ApiKey(found["name"], bytes.fromhex(found["digest"]), rate))
    return keys


def unreadable(error: OSError) -> str:
    """Why a file of keys cannot be read, and what to do."""
    advice = "expected a file with a line name:sha256 for each key"
    if isinstance(error, PermissionError):
        advice = "make the file and its folder readable for every user, because a container has its own: chmod a+rX"
    return f"cannot be read: {error.strerror}; {advice}"


class ApiKeys:
    """The keys of a service, from a setting and from a file, and the requests that each tenant has left."""

    def __init__(
        self, text: str, file: Path | None, rate: float, log: Log, clock: Callable[[], float] = monotonic
    ) -> None:
        self._fixed, self._file, self._rate, self._log, self._clock = parse_keys(text), file, rate, log, clock
        self._keys: list[ApiKey] = []
        self._buckets: dict[str, _Bucket] = {}
        self._changed: tuple[int, int] | None = None
        self._checked = float("-inf")
        self._reload()

    def check(self, context: RequestContext) -> None:
        """Notes the tenant of a request. Raises Unauthorized, and TooManyRequests when its requests are used up."""
        path = context.path
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDER) or context.method == "OPTIONS":
            return
        if self._clock() - self._checked >= RELOAD_SECONDS:
            self._reload()
        scheme, _, given = context.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            raise Unauthorized("this service needs an API key; send the header `Authorization: Bearer KEY`")
        key = self._find(hashlib.sha256(given.strip()).digest())
        if key is None:
            raise Unauthorized("this API key is not known here; it may have been withdrawn")
        context.tenant = key.name
        rate = self._rate if key.rate is None else key.rate
        if rate:
            self._buckets.setdefault(key.name, _Bucket(self._clock())).take(rate, self._clock())

    def _find(self, digest: bytes) -> ApiKey | None:
        """The key of a digest. It compares all, so its time tells nothing about them."""
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def _reload(self) -> None:
        self._checked = self._clock()
        if self._file is None:
            self._keys = self._fixed
            return
        try:
            state = self._file.stat()
            if (changed := (state.st_mtime_ns, state.st_size)) != self._changed:
                self._changed = changed
                self._keys = [*self._fixed, *parse_keys(self._file.read_text())]
                self._log.info("API keys read", keys=[key.name for key in self._keys])
        except (OSError, ValueError) as error:
            if self._changed is not None:
                self._log.error("API keys not read; those read before stay valid", reason=str(error))
                self._changed = None


class _Bucket:
    """A token bucket: it holds the requests of one second, or one request where that is less."""

    def __init__(self, now: float) -> None:
        self._left, self._at = float("inf"), now

    def take(self, rate: float, now: float) -> None:
        self._left = min(max(rate, 1.0), self._left + (now - self._at) * rate)
        self._at = now
        if self._left < 1:
            raise TooManyRequests(
                f"this API key may send {rate:g} requests per second; retry later", retry_after=(1 - self._left) / rate
            )
        self._left -= 1
