"""The interface of a transport, which makes one attempt at a call, and what the transports have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol, Self

import msgspec

from common.errors import ServingError, UpstreamFailed
from common.protocol.tensors import DATATYPES, Array, TensorSpec
from common.request.deadline import HEADER as TIMEOUT_HEADER
from common.request.deadline import Deadline

LONGEST_PAUSE = 3600.0  # seconds that a predictor may ask its callers to wait
_TIMEOUT = TIMEOUT_HEADER.lower()  # each attempt sends its own


class PredictorResponse(msgspec.Struct, frozen=True):
    """A predictor's response: arrays by output name, and the model and the version that computed them.

    The arrays are read-only, since they are views of the response's body. `server_timing` is that header's value.
    """

    outputs: dict[str, Array]
    model_name: str
    model_version: str
    server_timing: str = ""
    parameters: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """A model's metadata as its predictor reports it; -1 in a shape stands for a dimension of any size."""

    name: str
    versions: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    properties: Mapping[str, str] = field(default_factory=dict)


class PredictorRequest(msgspec.Struct, frozen=True):
    """A request to a predictor. `outputs` are the names of those wanted, all when empty; `headers` are sent with it."""

    inputs: Mapping[str, Array]
    deadline: Deadline
    outputs: Sequence[str] = ()
    headers: Mapping[str, str] = {}
    parameters: Mapping[str, Any] = {}


class RetryableError(Exception):
    """An attempt failed, and another may succeed: the predictor could not be reached, or is not ready or overloaded.

    `error` is what the caller gets when no further attempt is made. `retry_after` is the pause in seconds that the
    predictor asked for.
    """

    def __init__(self, error: ServingError, retry_after: float | None = None) -> None:
        super().__init__(error.detail)
        self.error = error
        self.retry_after = retry_after


class Transport(Protocol):
    """Makes one attempt at a call. Raises RetryableError when another attempt may succeed, else a ServingError.

    When the task is cancelled, a transport cancels the request at the predictor as well.
    """

    async def infer(self, request: PredictorRequest) -> PredictorResponse:
        """Runs the model."""

    async def ready(self, deadline: Deadline) -> bool:
        """Whether the predictor reports its model as ready."""

    async def metadata(self, deadline: Deadline) -> ModelMetadata:
        """The model's metadata."""

    async def close(self) -> None:
        """Closes all connections, also those in use."""

    def pinned(self, version: str) -> Self:
        """A transport for one version of the model, which shares the connections of this one."""


def headers_to_send(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers without the timeout, which each attempt sends itself, and without values that could break a line."""
    return [
        (name, value)
        for name, value in headers.items()
        if value.isascii() and value.isprintable() and name.lower() != _TIMEOUT
    ]


def require_outputs(response: PredictorResponse, names: Sequence[str], predictor: str) -> None:
    """Raises UpstreamFailed when the response lacks one of the outputs that were requested."""
    for name in names:
        if name not in response.outputs:
            raise UpstreamFailed(
                f"the response of predictor {predictor} lacks the requested output {name!r}; "
                f"it has: {', '.join(response.outputs) or 'none'}"
            )


def tensor_spec(name: str, datatype: str, shape: Sequence[int], predictor: str) -> TensorSpec:
    """The specification of a tensor in a predictor's metadata. Raises UpstreamFailed for an unknown datatype."""
    if datatype not in DATATYPES:
        raise UpstreamFailed(
            f"predictor {predictor}: tensor {name!r} in its metadata has the unknown datatype {datatype!r}"
        )
    return TensorSpec(name, datatype, tuple(shape))


def retry_seconds(text: str) -> float | None:
    """The seconds in a `Retry-After` header; None when it is absent, contains a date or more than an hour."""
    seconds = float(text) if text.replace(".", "", 1).isdecimal() and text.isascii() else inf
    return seconds if seconds <= LONGEST_PAUSE else None
