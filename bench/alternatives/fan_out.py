"""The proxy of parallel with one part of its client replaced: aiohttp, asyncio.timeout, nothing remembered.

`PredictorClients` takes no transport, so `open_transport` is replaced in its module; the smaller parts are, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import Field

from bench.alternatives.aiohttp_transport import AiohttpTransport
from common.client import predictor as client
from common.client import rest
from common.client.limits import ClientLimits
from common.client.predictor import PredictorClient
from common.client.transport import Transport, headers_to_send
from common.errors import DeadlineExceeded
from common.observability.log import Logs
from common.protocol import oip_caller
from common.protocol.oip import InferResponseJson
from common.protocol.tensors import Array, to_binary
from common.request.deadline import Deadline
from common.roles.process import ServiceProcess
from patterns.parallel import proxy
from patterns.parallel.settings import Settings as ParallelSettings

T = TypeVar("T")


class Settings(ParallelSettings):
    """parallel's settings, and which part is replaced."""

    alternative: str = Field("", description="The part that is replaced.")


def aiohttp() -> None:
    """Calls go through an aiohttp session."""

    def opened(
        base_url: str, model: str, version: str, predictor: str, limits: ClientLimits, headers: Mapping[str, str]
    ) -> Transport:
        url: SplitResult = urlsplit(base_url)
        return AiohttpTransport(url, model, version, predictor, limits, headers)

    client.open_transport = opened


def asyncio_timeout() -> None:
    """Each attempt is bounded by asyncio.timeout."""

    async def attempted(self: PredictorClient, attempt: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
        remaining = self._remaining(deadline)
        if not self._limiter.try_acquire():
            await self._limiter.acquire(remaining)
        started = monotonic()
        try:
            async with asyncio.timeout(self._remaining(deadline)):
                return await attempt()
        except TimeoutError:
            raise DeadlineExceeded(f"predictor {self.name} did not respond before the deadline") from None
        finally:
            self._limiter.release(monotonic() - started)

    PredictorClient._attempt = attempted  # type: ignore[method-assign]  # the client takes no timeout function


def header_lines_for_each_call() -> None:
    """The headers that are passed on are written for each call."""

    def lines(headers: Mapping[str, str]) -> str:
        return "".join([f"{name}: {value}\r\n" for name, value in headers_to_send(headers)])

    rest._header_lines = lines


def tensor_headers_for_each_call() -> None:
    """The JSON in front of binary tensors is written for each request and read for each response."""

    def encode(
        inputs: Mapping[str, Array],
        outputs: Sequence[str] = (),
        id: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> tuple[bytes, int]:
        parts = [to_binary(array) for array in inputs.values()]
        header = oip_caller._header(inputs, parts, outputs, id, parameters or {})
        return b"".join((header, *parts)), len(header)

    def decode(body: bytes, header_length: int | None) -> tuple[InferResponseJson, dict[str, Array]]:
        return oip_caller._decoded(body, len(body) if header_length is None else header_length, b"")

    rest.encode_request = encode  # type: ignore[attr-defined]  # as imported there
    rest.decode_response = decode  # type: ignore[attr-defined]  # as imported there


ALTERNATIVES: dict[str, Callable[[], None]] = {
    one.__name__.replace("_", "-"): one
    for one in (aiohttp, asyncio_timeout, header_lines_for_each_call, tensor_headers_for_each_call)
}


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """The proxy with one part replaced; none where `alternative` is empty."""
    if settings.alternative:
        ALTERNATIVES[settings.alternative]()
    return proxy.create_process(settings, logs)
