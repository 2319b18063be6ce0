"""The REST transport: Open Inference Protocol v2 with every tensor binary, over HTTP/1.1."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Self
from urllib.parse import SplitResult, quote

import msgspec

from common.client.http1 import ConnectionFailed, HttpPool, HttpResponse, InvalidResponse
from common.client.limits import ClientLimits
from common.client.transport import (
    ModelMetadata,
    PredictorRequest,
    PredictorResponse,
    RetryableError,
    check_outputs,
    retry_seconds,
    safe_headers,
    tensor_spec,
)
from common.errors import (
    DeadlineExceeded,
    FieldError,
    InvalidInput,
    Overloaded,
    PayloadTooLarge,
    PreprocessingMismatch,
    ServingError,
    UnsupportedMedia,
    UpstreamFailed,
    UpstreamModelNotFound,
)
from common.http.reply import PROBLEM
from common.protocol.oip import BINARY, HEADER_LENGTH
from common.protocol.oip_caller import decode_response, encode_request
from common.request.context import OutgoingHeaders
from common.request.deadline import HEADER as TIMEOUT_HEADER
from common.request.deadline import Deadline

_LONGEST_TEXT, _MOST_FIELDS = 1000, 20  # characters and fields of a predictor's error that are passed on
_REFUSALS: dict[int, type[ServingError]] = {
    400: InvalidInput,
    404: UpstreamModelNotFound,
    409: PreprocessingMismatch,
    413: PayloadTooLarge,
    415: UnsupportedMedia,
    422: InvalidInput,
}
_ACCEPT = f"Accept: */*, {PROBLEM.decode()}\r\n"  # ours then say which fields are wrong, others ignore it
_NAMED_LENGTH = HEADER_LENGTH.lower().encode()


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]


class _Metadata(msgspec.Struct):
    name: str
    inputs: list[_Tensor]
    outputs: list[_Tensor]
    versions: list[str] = []
    properties: dict[str, str] = {}


class _Refusal(msgspec.Struct):
    error: str | None = None
    detail: str | None = None
    errors: list[FieldError] = []


class RestTransport:
    """One model behind `http://host[:port][/prefix]`."""

    def __init__(self, url: SplitResult, model: str, version: str, predictor: str, limits: ClientLimits) -> None:
        assert url.hostname
        self._predictor = predictor
        self._path = f"{url.path.rstrip('/')}/v2/models/{quote(model, safe='')}"
        self._host = f"Host: {url.netloc.rpartition('@')[2]}\r\n"
        self._address(version)
        self._pool = HttpPool(
            url.hostname,
            url.port or 80,
            connect_seconds=limits.connect_seconds,
            idle_seconds=limits.idle_seconds,
            max_answer_bytes=limits.max_answer_bytes,
        )

    def _address(self, version: str) -> None:
        """The beginnings of all requests."""
        path = f"{self._path}/versions/{quote(version, safe='')}" if version else self._path
        self._infer = f"POST {path}/infer HTTP/1.1\r\n{self._host}{_ACCEPT}Content-Type: {BINARY}\r\n"
        self._ready = f"GET {path}/ready HTTP/1.1\r\n{self._host}"
        self._metadata = f"GET {path} HTTP/1.1\r\n{self._host}"

    def pinned(self, version: str) -> Self:
        other = copy.copy(self)
        other._address(version)
        return other

    async def infer(self, request: PredictorRequest) -> PredictorResponse:
        body, header_length = encode_request(request.inputs, request.outputs, parameters=request.parameters)
        passed_on = _lines(request.headers)
        answer = await self._request(
            f"{self._infer}Content-Length: {len(body)}\r\n{HEADER_LENGTH}: {header_length}\r\n{passed_on}",
            body,
            request.deadline,
        )
        if answer.status != 200:
            raise self._refused(answer)
        return check_outputs(self._decode(answer), request.outputs, self._predictor)

    async def ready(self, deadline: Deadline) -> bool:
        return (await self._request(self._ready, b"", deadline)).status == 200

    async def metadata(self, deadline: Deadline) -> ModelMetadata:
        answer = await self._request(self._metadata, b"", deadline)
        if answer.status != 200:
            raise self._refused(answer)
        try:
            found = msgspec.json.decode(answer.body, type=_Metadata)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UpstreamFailed(f"predictor {self._predictor}: its metadata is not valid: {error}") from None
        inputs, outputs = (
            tuple(tensor_spec(one.name, one.datatype, one.shape, self._predictor) for one in tensors)
            for tensors in (found.inputs, found.outputs)
        )
        return ModelMetadata(found.name, tuple(found.versions), inputs, outputs, found.properties)

    async def close(self) -> None:
        await self._pool.close()

    async def _request(self, head: str, body: bytes, deadline: Deadline) -> HttpResponse:
        whole = f"{head}{TIMEOUT_HEADER}: {deadline.header()}\r\n\r\n".encode("ascii")
        try:
            return await self._pool.request(whole, body)
        except ConnectionFailed as error:
            failed = UpstreamFailed(f"predictor {self._predictor}: {error}")
            raise (failed if error.answered else RetryableError(failed)) from error
        except InvalidResponse as error:
            raise UpstreamFailed(f"predictor {self._predictor}: {error}") from error

    def _decode(self, answer: HttpResponse) -> PredictorResponse:
        length = answer.header(_NAMED_LENGTH)
        try:
            response, arrays = decode_response(answer.body, int(length[:20]) if length else None)
        except (UpstreamFailed, ValueError) as error:
            raise UpstreamFailed(f"predictor {self._predictor}: {error}") from None
        timing = answer.header(b"server-timing")
        return PredictorResponse(arrays, response.model_name, response.model_version, timing, response.parameters)

    def _refused(self, answer: HttpResponse) -> ServingError | RetryableError:
        """What an answer other than 200 means here."""
        status, (text, fields) = answer.status, _error(answer.body)
        said = f"predictor {self._predictor} answered {status}: {text}"
        after = retry_seconds(answer.header(b"retry-after"))
        if status == 503:
            return RetryableError(Overloaded(said, retry_after=after or 1.0), after)
        if status == 502:
            return RetryableError(UpstreamFailed(said), after)
        if status == 429:
            return Overloaded(said, retry_after=after or 1.0)
        if status == 504:
            return DeadlineExceeded(said)
        if status in _REFUSALS:
            return _REFUSALS[status](said if status in (404, 409) else text, fields=fields)
        return UpstreamFailed(said)


def _lines(headers: Mapping[str, str]) -> str:
    """Headers to pass on as they stand in a request's head; made once for all the calls of an exchange."""
    if isinstance(headers, OutgoingHeaders) and headers.lines:
        return headers.lines
    lines = "".join([f"{name}: {value}\r\n" for name, value in safe_headers(headers)])
    if isinstance(headers, OutgoingHeaders):
        headers.lines = lines
    return lines


def _error(body: bytes) -> tuple[str, list[FieldError]]:
    """A predictor's words, and which fields are wrong where it says so."""
    try:
        told = msgspec.json.decode(body, type=_Refusal)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        told = _Refusal()
    text = told.error or told.detail or body[:_LONGEST_TEXT].decode(errors="replace")
    fields = [FieldError(one.field[:_LONGEST_TEXT], one.reason[:_LONGEST_TEXT]) for one in told.errors[:_MOST_FIELDS]]
    return text[:_LONGEST_TEXT], fields
