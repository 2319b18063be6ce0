"""What the composing client asks of a transport, and what both of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import msgspec

from common.errors import ServingError, UpstreamFailed
from common.protocol.tensors import DATATYPES, Array, TensorSpec
from common.request.deadline import HEADER as TIMEOUT_HEADER
from common.request.deadline import Deadline

_OWN = TIMEOUT_HEADER.lower()  # each attempt states what is left for it


class PredictorResponse(msgspec.Struct, frozen=True):
    """A predictor's answer: arrays by output name (read-only, they read the answer in place), and who gave it."""

    outputs: dict[str, Array]
    model_name: str
    model_version: str
    server_timing: str = ""
    parameters: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a predictor says of its model; -1 in a shape is a free dimension."""

    name: str
    versions: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    properties: Mapping[str, str] = field(default_factory=dict)


class PredictorRequest(msgspec.Struct, frozen=True):
    """What a predictor is asked. `headers` are passed on (request id, trace)."""

    inputs: Mapping[str, Array]
    deadline: Deadline
    outputs: Sequence[str] = ()
    headers: Mapping[str, str] = {}
    parameters: Mapping[str, Any] = {}


class RetryableError(Exception):
    """An attempt that another may mend: the predictor was not reached, or said that it cannot answer just now.

    `error` is what the caller gets when no further attempt is made; `after` is how long the predictor asks to wait.
    """

    def __init__(self, error: ServingError, after: float | None = None) -> None:
        super().__init__(error.detail)
        self.error = error
        self.after = after


class Transport(Protocol):
    """One attempt at a call. Raises RetryableError where another attempt may help, a ServingError where none will.

    The caller ends an attempt by cancelling it; then nothing may go on at the predictor's end.
    """

    async def infer(self, request: PredictorRequest) -> PredictorResponse: ...

    async def ready(self, deadline: Deadline) -> bool: ...

    async def metadata(self, deadline: Deadline) -> ModelMetadata: ...

    async def close(self) -> None: ...

    def pinned(self, version: str) -> Self:
        """The same connections, to one version of the model."""


def safe_headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Those of `headers` that may go on the wire: no deadline of its own, nothing that could end a line."""
    return [
        (name, value)
        for name, value in headers.items()
        if value.isascii() and value.isprintable() and name.lower() != _OWN
    ]


def check_outputs(result: PredictorResponse, wanted: Sequence[str], predictor: str) -> PredictorResponse:
    """The result again; UpstreamFailed where an output that was asked for is missing."""
    for name in wanted:
        if name not in result.outputs:
            raise UpstreamFailed(f"predictor {predictor} left out the output {name!r}")
    return result


def tensor_spec(name: str, datatype: str, shape: Sequence[int], predictor: str) -> TensorSpec:
    """A tensor as a predictor describes it; UpstreamFailed where its datatype is none of the protocol's."""
    if datatype not in DATATYPES:
        raise UpstreamFailed(f"predictor {predictor} has a tensor {name!r} of unknown datatype {datatype!r}")
    return TensorSpec(name, datatype, tuple(shape))


def retry_seconds(text: str) -> float | None:
    """Seconds out of a `Retry-After` header; None where there is none, or where it is a date."""
    return float(text) if text.replace(".", "", 1).isdecimal() and text.isascii() else None
