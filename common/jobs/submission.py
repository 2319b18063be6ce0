"""POST and GET /jobs: a request that becomes a job at once, and the list of a caller's jobs.

Headers say what the caller asks besides the work: an idempotency key, an order, a deadline, a time to live.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from math import isfinite
from typing import Any
from urllib.parse import parse_qsl

import orjson

from common.errors import InvalidInput, Overloaded
from common.http.reply import Reply
from common.jobs.http import accepted
from common.jobs.interface import Jobs, Submission
from common.jobs.record import JobInput, JobState
from common.protocol.json_body import Payload
from common.request.context import Headers, RequestContext

ReadInput = Callable[[RequestContext, Payload], JobInput]
"""Checks a request before it is accepted, and takes from it what the job works on. Raises InvalidInput."""
PATH = "/jobs"
MOST_LISTED = 100  # jobs of one page
MOST_SECONDS = 30 * 86_400.0  # of a deadline or a time to live
_KEY = re.compile(rb'"[ !#-~]{1,255}"')  # a quoted string, of which the quotes are part
_ORDER = re.compile(rb"[!-~]{1,128}")


class JobsRoute:
    """POST /jobs accepts a job, 202 with its place; GET /jobs lists the caller's own.

    The same Idempotency-Key again gives the same job, done or not.
    """

    methods = ("GET", "POST")

    def __init__(self, jobs: Jobs, read: ReadInput, operation: Callable[[], dict[str, Any]]) -> None:
        """`operation` gives the part of the OpenAPI document that says what `read` takes."""
        self._jobs, self._read, self._operation = jobs, read, operation

    def match(self, path: str) -> bool:
        return path == PATH

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        context.route = PATH
        if context.method == "GET":
            page = await self._jobs.list(context.tenant, *_page(context.query))
            return Reply(200, orjson.dumps({"jobs": [one.summary() for one in page.jobs], "next": page.after}))
        job_input = self._read(context, body)
        job = await self._jobs.submit(context, job_input, parse_submission(context.headers, job_input))
        try:
            return accepted(await self._jobs.hand_over(job))
        except Overloaded:
            await self._jobs.discard(job)
            raise

    def document(self) -> dict[str, Any]:
        taken = self._operation()
        headers = [_parameter(name, "header", {"type": "string"}, text) for name, text in _HEADERS.items()]
        submit = {
            **taken,
            "tags": ["jobs"],
            "summary": "Submit a job",
            "operationId": "submit_job",
            "parameters": [*taken.get("parameters", ()), *headers],
            "responses": {str(code): {"description": text} for code, text in _RESPONSES.items()},
        }
        return {"paths": {PATH: {"post": submit, "get": _LIST}}, "components": {"schemas": {}}}


def _page(query: bytes) -> tuple[JobState | None, str | None, int]:
    """The parameters of the list. Raises InvalidInput."""
    given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    if others := sorted(given.keys() - {"status", "after", "limit"}):
        raise InvalidInput.at(others[0][:40], f"is not a parameter of {PATH}; expected status, after or limit")
    status, limit = given.get("status"), given.get("limit", str(MOST_LISTED))
    if status is not None and status not in list(JobState):
        raise InvalidInput.at("status", f"expected one of {', '.join(JobState)}, got {status[:40]!r}")
    if not (limit.isascii() and limit.isdecimal() and len(limit) < 5 and 1 <= int(limit) <= MOST_LISTED):
        raise InvalidInput.at("limit", f"expected 1 to {MOST_LISTED}, got {limit[:40]!r}")
    return JobState(status) if status is not None else None, given.get("after"), int(limit)


def parse_submission(headers: Headers, job_input: JobInput) -> Submission:
    """What the headers of a request ask of its job. Raises InvalidInput for a header that is not as it should be."""
    key, order = headers.get(b"idempotency-key"), headers.get(b"x-ordering-key")
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidInput.at(
            "Idempotency-Key", f'expected "text" in quotes, of 1 to 255 characters, got {_shown(key)}'
        )
    if order is not None and not _ORDER.fullmatch(order):
        raise InvalidInput.at("X-Ordering-Key", f"expected 1 to 128 characters without spaces, got {_shown(order)}")
    return Submission(
        once=(key or b"").decode(),
        order=(order or b"").decode(),
        fingerprint=_fingerprint(job_input) if key else "",
        seconds=_seconds(headers, "X-Job-Deadline-Seconds"),
        ttl_seconds=_seconds(headers, "X-Job-TTL-Seconds"),
    )


def _seconds(headers: Headers, name: str) -> float | None:
    text = headers.get(name.lower().encode())
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not (isfinite(seconds) and 0 < seconds <= MOST_SECONDS):
        raise InvalidInput.at(name, f"expected more than 0 and at most {MOST_SECONDS:.0f} seconds, got {_shown(text)}")
    return seconds


def _shown(text: bytes) -> str:
    return repr(text[:40].decode("latin-1"))


def _fingerprint(job_input: JobInput) -> str:
    """Of what a request means: the order of the members of a JSON object is no part of it."""
    body = bytes(job_input.body)
    if body[:1] in (b"{", b"["):
        with suppress(orjson.JSONDecodeError):  # else the bytes as they are
            body = orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)
    words = orjson.dumps(dict(job_input.parameters), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(words + b"\0" + body).hexdigest()


def _parameter(name: str, place: str, schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": False, "description": text, "schema": schema}


_HEADERS = {
    "Idempotency-Key": 'A text in quotes, such as "order-7". Another request with it gets the same job.',
    "X-Ordering-Key": "Jobs of the same key run one after the other, in the order in which they were submitted.",
    "X-Job-Deadline-Seconds": "After so long, a job that is not done is expired.",
    "X-Job-TTL-Seconds": "How long a job is kept once it is over; after that it gets 410.",
}
_RESPONSES = {
    202: "The job has been accepted; Location says where it is",
    400: "The request is not what the job needs",
    413: "The body is too large",
    415: "Wrong content type",
    422: "The idempotency key was used for another request",
    503: "Not ready, or too many jobs",
}
_LIST = {
    "tags": ["jobs"],
    "summary": "Your jobs, the newest first",
    "operationId": "list_jobs",
    "parameters": [
        _parameter("status", "query", {"type": "string", "enum": list(JobState)}, "Only jobs in this state."),
        _parameter("after", "query", {"type": "string"}, "Where the page begins: `next` of the one before."),
        _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": MOST_LISTED}, "Most jobs of a page."),
    ],
    "responses": {
        "200": {"description": "The ids and states of the jobs; `next` is null on the last page"},
        "400": {"description": "A parameter is not as it should be"},
    },
}
