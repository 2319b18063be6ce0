"""An HTTP response before it is sent, and the one place where an error becomes one."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import msgspec
import orjson

from common.errors import MethodNotAllowed, ServingError, Unauthorized
from common.protocol import torchserve
from common.request.context import RequestContext

PROBLEM = b"application/problem+json"


class Reply(msgspec.Struct):
    """Status, body and the headers that belong to them."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    headers: Sequence[tuple[bytes, bytes]] = ()


def render_error(error: ServingError, context: RequestContext) -> Reply:
    """RFC 9457 problem+json, except under the paths of protocols that have their own form.

    `{"error": text}` under /v2 and /v1, TorchServe's form under /predictions. A caller of these that names problem+json
    in its Accept header gets that, since it says which fields are wrong.
    """
    headers = []
    if error.retry_after is not None:
        headers.append((b"retry-after", str(max(1, ceil(error.retry_after))).encode()))
    if isinstance(error, Unauthorized):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed) and error.allowed:
        headers.append((b"allow", error.allowed.encode()))
    if context.path.startswith(("/v2", "/v1")) and PROBLEM not in context.headers.get(b"accept", b""):
        return Reply(error.status, orjson.dumps({"error": error.detail}), headers=headers)
    if context.path.startswith("/predictions/") and PROBLEM not in context.headers.get(b"accept", b""):
        return Reply(error.status, torchserve.error_body(error), headers=headers)
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": context.path,
        "request_id": context.request_id,
    }
    if error.fields:
        problem["errors"] = [{"field": one.field, "reason": one.reason} for one in error.fields]
    return Reply(error.status, orjson.dumps(problem), PROBLEM, headers)
