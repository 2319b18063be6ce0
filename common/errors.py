"""One tree of errors; each has its HTTP status and its gRPC code.

ServingError                     500 INTERNAL
├── InternalError                500 INTERNAL             a defect of this service; its log says more
├── InvalidInput                 400 INVALID_ARGUMENT     the request is wrong: `fields` says where and why
│   ├── PayloadTooLarge          413 RESOURCE_EXHAUSTED
│   └── UnsupportedMedia         415 INVALID_ARGUMENT
├── Unauthorized                 401 UNAUTHENTICATED      the API key is missing or not known
├── Forbidden                    403 PERMISSION_DENIED    a setting has to allow it first
├── NotFound                     404 NOT_FOUND
├── MethodNotAllowed             405 UNIMPLEMENTED
├── PreprocessingMismatch        409 FAILED_PRECONDITION  the input was prepared for another model
├── TooManyRequests              429 RESOURCE_EXHAUSTED   this caller has used up its share
├── ClientDisconnected           499 CANCELLED            the client closed its connection before the response
├── ModelFailed                  500 INTERNAL             the model itself failed on this input
├── UpstreamFailed               502 UNAVAILABLE          another service failed, or its response is not valid
│   └── UpstreamModelNotFound    502 UNAVAILABLE          the other service has no such model or version
├── Overloaded                   503 RESOURCE_EXHAUSTED   the queue is full: retry after `retry_after` seconds
├── NotReady                     503 UNAVAILABLE          loading, draining or broken
├── DeadlineExceeded             504 DEADLINE_EXCEEDED    the request's time is over
└── LoopDetected                 508 INTERNAL             a proxy called itself, directly or through others
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from common.observability.redaction import redacted, redacted_start

LONGEST_NAME = 100  # characters of a name that a message quotes


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong in a request: where (`inputs[0].shape`) and why (what was expected, what was found)."""

    field: str
    reason: str


def shortened(name: str) -> str:
    """A name from a request as a message quotes it: a long one is cut, since messages have to stay short."""
    return repr(name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…")


class ServingError(Exception):
    """The base of every error that a caller is told; `detail` is one sentence for the caller, without any secret."""

    status: ClassVar[int] = 500
    grpc_code: ClassVar[str] = "INTERNAL"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, fields: Sequence[FieldError] = (), retry_after: float | None = None) -> None:
        detail = redacted(detail)
        super().__init__(detail)
        self.detail = detail
        self.fields = tuple(FieldError(one.field, redacted(one.reason)) for one in fields)
        self.retry_after = retry_after


class InternalError(ServingError):
    """What a caller is told of an unexpected exception; the log has its traceback, under the same request id."""

    @classmethod
    def of(cls, request_id: str) -> InternalError:
        """The error for the request with this id."""
        return cls(f"internal error; see the server log, request id {request_id}")


class InvalidInput(ServingError):
    status, grpc_code, title = 400, "INVALID_ARGUMENT", "Invalid input"

    @classmethod
    def at(cls, field: str, reason: str) -> InvalidInput:
        """One field and one reason; a long reason is cut, since it may quote the request."""
        reason = redacted_start(reason, 1000)
        return cls(f"{field}: {reason}", fields=[FieldError(field, reason)])


class PayloadTooLarge(InvalidInput):
    status, grpc_code, title = 413, "RESOURCE_EXHAUSTED", "Payload too large"


class UnsupportedMedia(InvalidInput):
    status, grpc_code, title = 415, "INVALID_ARGUMENT", "Unsupported media type"


class Unauthorized(ServingError):
    status, grpc_code, title = 401, "UNAUTHENTICATED", "Unauthorized"


class Forbidden(ServingError):
    status, grpc_code, title = 403, "PERMISSION_DENIED", "Forbidden"


class NotFound(ServingError):
    status, grpc_code, title = 404, "NOT_FOUND", "Not found"


class MethodNotAllowed(ServingError):
    status, grpc_code, title = 405, "UNIMPLEMENTED", "Method not allowed"

    def __init__(self, detail: str, *, allowed: str) -> None:
        super().__init__(detail)
        self.allowed = allowed


class PreprocessingMismatch(ServingError):
    status, grpc_code, title = 409, "FAILED_PRECONDITION", "Preprocessing mismatch"


class TooManyRequests(ServingError):
    status, grpc_code, title = 429, "RESOURCE_EXHAUSTED", "Too many requests"


class ClientDisconnected(ServingError):
    status, grpc_code, title = 499, "CANCELLED", "Client closed request"


class ModelFailed(ServingError):
    status, grpc_code, title = 500, "INTERNAL", "The model failed"


class UpstreamFailed(ServingError):
    status, grpc_code, title = 502, "UNAVAILABLE", "An upstream service failed"


class UpstreamModelNotFound(UpstreamFailed):
    """The other service does not have this model, or no longer has this version of it."""


class Overloaded(ServingError):
    status, grpc_code, title = 503, "RESOURCE_EXHAUSTED", "Overloaded"


class NotReady(ServingError):
    status, grpc_code, title = 503, "UNAVAILABLE", "Not ready"


class DeadlineExceeded(ServingError):
    status, grpc_code, title = 504, "DEADLINE_EXCEEDED", "Deadline exceeded"


class LoopDetected(ServingError):
    status, grpc_code, title = 508, "INTERNAL", "Loop detected"
