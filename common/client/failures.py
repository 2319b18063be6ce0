"""What a predictor's error is to the caller of a proxy, the same over HTTP and gRPC.

What is wrong with the request, and what may be better in a moment, is passed on as the same class. The rest is a
failure of the predictor: the caller of a proxy cannot mend the proxy's API key or address, nor a defect behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.client.transport import RetryableError
from common.errors import (
    DeadlineExceeded,
    FieldError,
    InvalidInput,
    LoopDetected,
    NotFound,
    NotReady,
    Overloaded,
    PreprocessingMismatch,
    ServingError,
    TooManyRequests,
    UpstreamFailed,
    UpstreamModelNotFound,
)

_SAME = (PreprocessingMismatch, DeadlineExceeded, LoopDetected)
_LATER = (Overloaded, NotReady)


def failure(
    kind: type[ServingError],
    detail: str,
    text: str,
    fields: Sequence[FieldError] = (),
    retry_after: float | None = None,
) -> ServingError | RetryableError:
    """The error for one of class `kind` that a predictor has sent.

    `text` is the predictor's own sentence; `detail` names the predictor as well.
    """
    if issubclass(kind, InvalidInput):
        return kind(text, fields=fields)
    if issubclass(kind, _LATER):
        return RetryableError(kind(detail, retry_after=retry_after or 1.0), retry_after)
    if issubclass(kind, TooManyRequests):  # the share of the proxy, and not of its caller
        return Overloaded(detail, retry_after=retry_after or 1.0)
    if issubclass(kind, UpstreamFailed):
        return RetryableError(UpstreamFailed(detail), retry_after)
    if issubclass(kind, NotFound):
        return UpstreamModelNotFound(detail)
    return kind(detail) if issubclass(kind, _SAME) else UpstreamFailed(detail)
