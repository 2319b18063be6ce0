"""The REST transport with aiohttp in place of our HTTP/1.1 client; requests and the reading of responses are ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, quote

import aiohttp
import yarl

from common.client.limits import ClientLimits
from common.client.rest import RestTransport
from common.client.transport import (
    ModelMetadata,
    PredictorRequest,
    PredictorResponse,
    RetryableError,
    headers_to_send,
    require_outputs,
)
from common.errors import UpstreamFailed
from common.protocol.oip import BINARY, HEADER_LENGTH
from common.protocol.oip_caller import encode_request
from common.request.deadline import HEADER as TIMEOUT_HEADER
from common.request.deadline import Deadline


class AiohttpResponse:
    """A whole response, read as `HttpResponse` is."""

    __slots__ = ("_headers", "body", "status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self._headers, self.body = status, headers, body

    def header(self, name: bytes) -> str:
        """A header's value, "" where it is absent."""
        return self._headers.get(name.decode(), "")


class AiohttpTransport(RestTransport):
    """One model behind `http://host[:port][/prefix]`. aiohttp bounds neither time nor size here: the fastest it has."""

    _session: aiohttp.ClientSession | None = None

    def __init__(
        self, url: SplitResult, model: str, version: str, name: str, limits: ClientLimits, headers: Mapping[str, str]
    ) -> None:
        super().__init__(url, model, version, name, limits, headers)
        self._limits, self._headers = limits, headers
        path = f"{url.path.rstrip('/')}/v2/models/{quote(model, safe='')}"
        path += f"/versions/{quote(version, safe='')}" if version else ""
        base = f"http://{url.netloc}{path}"
        self._urls = {end: yarl.URL(base + end, encoded=True) for end in ("", "/ready", "/infer")}

    async def infer(self, request: PredictorRequest) -> PredictorResponse:
        body, header_length = encode_request(request.inputs, request.outputs, parameters=request.parameters)
        headers = {
            "Content-Type": BINARY,
            HEADER_LENGTH: str(header_length),
            TIMEOUT_HEADER: request.deadline.header(),
            **self._headers,
            **dict(headers_to_send(request.headers)),
        }
        answer: Any = await self._exchange("POST", "/infer", headers, body)
        if answer.status != 200:
            raise self._error(answer)
        response = await self._decode(answer)
        require_outputs(response, request.outputs, self._predictor)
        return response

    async def ready(self, deadline: Deadline) -> bool:
        return (await self._exchange("GET", "/ready", {TIMEOUT_HEADER: deadline.header()})).status == 200

    async def metadata(self, deadline: Deadline) -> ModelMetadata:
        answer = await self._exchange("GET", "", {TIMEOUT_HEADER: deadline.header()})

        async def given(head: str, body: bytes, deadline: Deadline) -> Any:
            return answer

        self._request = given  # type: ignore[method-assign]  # the parent reads the answer
        return await super().metadata(deadline)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=self._limits.idle_seconds),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
            auto_decompress=False,
        )

    async def _exchange(
        self, method: str, end: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> AiohttpResponse:
        if self._session is None:
            self._session = self._open()
        try:
            async with self._session.request(method, self._urls[end], data=body, headers=headers) as response:
                return AiohttpResponse(response.status, response.headers, await response.read())
        except aiohttp.ClientConnectorError as error:
            raise RetryableError(UpstreamFailed(f"predictor {self._predictor}: {error}")) from error
        except aiohttp.ServerDisconnectedError as error:
            raise RetryableError(UpstreamFailed(f"predictor {self._predictor}: {error}")) from error
        except aiohttp.ClientError as error:
            raise UpstreamFailed(f"predictor {self._predictor}: {error}") from error
