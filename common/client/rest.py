"""The REST transport: the Open Inference Protocol over HTTP/1.1, with every tensor in binary form."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Self
from urllib.parse import SplitResult, quote

import msgspec

from common.client.failures import failure
from common.client.http1 import ConnectionFailed, HttpPool, HttpResponse, InvalidResponse
from common.client.limits import ClientLimits
from common.client.transport import (
    ModelMetadata,
    PredictorRequest,
    PredictorResponse,
    RetryableError,
    headers_to_send,
    require_outputs,
    retry_seconds,
    tensor_spec,
)
from common.errors import (
    DeadlineExceeded,
    FieldError,
    InvalidInput,
    LoopDetected,
    NotFound,
    NotReady,
    Overloaded,
    PayloadTooLarge,
    PreprocessingMismatch,
    ServingError,
    TooManyRequests,
    UnsupportedMedia,
    UpstreamFailed,
)
from common.http.reply import PROBLEM
from common.protocol.oip import BINARY, HEADER_LENGTH
from common.protocol.oip_caller import decode_response, encode_request, has_only_numbers
from common.protocol.values import many_texts
from common.request.capacity import SMALL
from common.request.context import OutgoingHeaders, beside_loop
from common.request.deadline import HEADER as TIMEOUT_HEADER
from common.request.deadline import Deadline

_MAX_TEXT, _MAX_FIELDS = 1000, 20  # characters and fields of a predictor's error that are passed on
_ERRORS: dict[int, type[ServingError]] = {
    400: InvalidInput,
    404: NotFound,
    409: PreprocessingMismatch,
    413: PayloadTooLarge,
    415: UnsupportedMedia,
    422: InvalidInput,
    429: TooManyRequests,
    502: UpstreamFailed,
    503: Overloaded,
    504: DeadlineExceeded,
    508: LoopDetected,
}
_ACCEPT = f"Accept: */*, {PROBLEM.decode()}\r\n"  # our predictors then report which fields are wrong; others ignore it
_HEADER_LENGTH = HEADER_LENGTH.lower().encode()


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


class _ErrorBody(msgspec.Struct):
    """An error as the protocol (`error`) or RFC 9457 (`title`, `detail`, and our own `errors`) has it."""

    error: str | None = None
    title: str | None = None
    detail: str | None = None
    errors: list[FieldError] = []


class RestTransport:
    """One model behind `http://host[:port][/prefix]`."""

    def __init__(
        self,
        url: SplitResult,
        model: str,
        version: str,
        predictor: str,
        limits: ClientLimits,
        headers: Mapping[str, str],
    ) -> None:
        assert url.hostname
        self._predictor = predictor
        self._path = f"{url.path.rstrip('/')}/v2/models/{quote(model, safe='')}"
        own = {"Host": url.netloc.rpartition("@")[2], **headers}
        self._own = "".join(f"{name}: {value}\r\n" for name, value in own.items())
        self._set_version(version)
        self._pool = HttpPool(
            url.hostname,
            url.port or 80,
            connect_timeout_seconds=limits.connect_timeout_seconds,
            idle_seconds=limits.idle_seconds,
            max_response_bytes=limits.max_response_bytes,
        )

    def _set_version(self, version: str) -> None:
        """Prepares the first lines of each kind of request."""
        path = f"{self._path}/versions/{quote(version, safe='')}" if version else self._path
        self._infer_head = f"POST {path}/infer HTTP/1.1\r\n{self._own}{_ACCEPT}Content-Type: {BINARY}\r\n"
        self._ready_head = f"GET {path}/ready HTTP/1.1\r\n{self._own}"
        self._metadata_head = f"GET {path} HTTP/1.1\r\n{self._own}"

    def pinned(self, version: str) -> Self:
        other = copy.copy(self)
        other._set_version(version)
        return other

    async def infer(self, request: PredictorRequest) -> PredictorResponse:
        many = many_texts(request.inputs.values())
        asked = request.inputs, request.outputs, None, request.parameters
        body, header_length = await beside_loop(many, encode_request, *asked)
        headers = _header_lines(request.headers)
        http_response = await self._request(
            f"{self._infer_head}Content-Length: {len(body)}\r\n{HEADER_LENGTH}: {header_length}\r\n{headers}",
            body,
            request.deadline,
        )
        if http_response.status != 200:
            raise self._error(http_response)
        response = await self._decode(http_response)
        require_outputs(response, request.outputs, self._predictor)
        return response

    async def ready(self, deadline: Deadline) -> bool:
        return (await self._request(self._ready_head, b"", deadline)).status == 200

    async def metadata(self, deadline: Deadline) -> ModelMetadata:
        response = await self._request(self._metadata_head, b"", deadline)
        if response.status != 200:
            raise self._error(response)
        try:
            metadata = msgspec.json.decode(response.body, type=_Metadata)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UpstreamFailed(f"predictor {self._predictor}: its metadata is not valid: {error}") from None
        inputs, outputs = (
            tuple(tensor_spec(tensor.name, tensor.datatype, tensor.shape, self._predictor) for tensor in tensors)
            for tensors in (metadata.inputs, metadata.outputs)
        )
        return ModelMetadata(metadata.name, tuple(metadata.versions), inputs, outputs, metadata.properties)

    async def close(self) -> None:
        await self._pool.close()

    async def _request(self, head: str, body: bytes, deadline: Deadline) -> HttpResponse:
        complete_head = f"{head}{TIMEOUT_HEADER}: {deadline.header()}\r\n\r\n".encode("ascii")
        try:
            return await self._pool.request(complete_head, body)
        except ConnectionFailed as error:
            failed = UpstreamFailed(f"predictor {self._predictor}: {error}")
            raise (failed if error.response_started else RetryableError(failed)) from error
        except InvalidResponse as error:
            raise UpstreamFailed(f"predictor {self._predictor}: {error}") from error

    async def _decode(self, http_response: HttpResponse) -> PredictorResponse:
        length, body = http_response.header(_HEADER_LENGTH), http_response.body
        try:
            header_length = int(length[:20]) if length else None
            large = len(body) > SMALL and not has_only_numbers(body, header_length)
            response, arrays = await beside_loop(large, decode_response, body, header_length)
        except (UpstreamFailed, ValueError) as error:
            raise UpstreamFailed(f"predictor {self._predictor}: {error}") from None
        timing = http_response.header(b"server-timing")
        return PredictorResponse(arrays, response.model_name, response.model_version, timing, response.parameters)

    def _error(self, response: HttpResponse) -> ServingError | RetryableError:
        """The error for a response whose status is not 200."""
        status, told = response.status, _told(response.body)
        text = (told.error or told.detail or "")[:_MAX_TEXT]
        detail = f"predictor {self._predictor} answered {status}: {text}"
        kind = NotReady if status == 503 and told.title == NotReady.title else _ERRORS.get(status, ServingError)
        fields = [FieldError(one.field[:_MAX_TEXT], one.reason[:_MAX_TEXT]) for one in told.errors[:_MAX_FIELDS]]
        return failure(kind, detail, text, fields, retry_seconds(response.header(b"retry-after")))


def _header_lines(headers: Mapping[str, str]) -> str:
    """Header lines as HTTP/1.1 has them; those of a RequestContext are encoded once for all of its calls."""
    if isinstance(headers, OutgoingHeaders) and headers.lines:
        return headers.lines
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers_to_send(headers)])
    if isinstance(headers, OutgoingHeaders):
        headers.lines = lines
    return lines


def _told(body: bytes) -> _ErrorBody:
    """A predictor's error."""
    try:
        told = msgspec.json.decode(body, type=_ErrorBody)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        told = _ErrorBody()
    if not (told.error or told.detail):
        told.error = body[:_MAX_TEXT].decode(errors="replace")
    return told
