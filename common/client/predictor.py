"""The client that decides whether, when and how often a predictor is called."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from common.client.limits import ClientLimits, ConcurrencyLimiter, RetryBudget
from common.client.rest import RestTransport
from common.client.timeout import timeout
from common.client.transport import ModelMetadata, PredictorRequest, PredictorResponse, RetryableError, Transport
from common.errors import DeadlineExceeded, ServingError
from common.observability.redaction import redacted
from common.protocol.tensors import Array
from common.request.deadline import Deadline

T = TypeVar("T")

Observe = Callable[[str, float], None]
"""Is called with the outcome of a call ("ok", "cancelled" or an error's title) and its seconds."""
_LEAST_SECONDS = 0.001  # no attempt is started with less time than this


class PredictorClient:
    """One model of one predictor, at `http://host:port` (REST) or `grpc://host:port`.

    `name` stands for the predictor in error messages; by default it is the model's name. `version` selects one version
    of the model. `headers` are sent with every call. `observe` is called after each inference. The first call opens the
    first connection. Use the client as an async context manager, or close it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        model: str,
        version: str = "",
        name: str = "",
        limits: ClientLimits | None = None,
        transport: Transport | None = None,
        observe: Observe | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name or model
        self._limits = limits or ClientLimits()
        self._transport = transport or open_transport(base_url, model, version, self.name, self._limits, headers or {})
        self._limiter = ConcurrencyLimiter(self._limits.concurrency, self._limits.queue, self.name)
        self._budget = RetryBudget(self._limits.retry_share, self._limits.retry_reserve)
        self._observe = observe

    async def infer(
        self,
        inputs: Mapping[str, Array],
        *,
        deadline: Deadline,
        outputs: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> PredictorResponse:
        """Runs the model on arrays by input name, and returns the outputs that are named, or all of them.

        `headers` are sent with the request (request id, trace). `parameters` are those of the protocol's request.

        Raises InvalidInput (PayloadTooLarge, UnsupportedMedia) or PreprocessingMismatch with the predictor's message
        when it refuses the input, UpstreamModelNotFound when it does not have this model or version, Overloaded,
        NotReady, DeadlineExceeded, LoopDetected, and UpstreamFailed for every other failure. Cancelling the calling
        task cancels the request at the predictor.
        """
        transport = self._transport
        request = PredictorRequest(inputs, deadline, outputs or (), headers or {}, parameters or {})
        started = monotonic()
        outcome = "cancelled"
        try:
            response = await self._call(lambda: transport.infer(request), deadline)
            outcome = "ok"
            return response
        except ServingError as error:
            outcome = error.title.lower()
            raise
        finally:
            if self._observe is not None:
                self._observe(outcome, monotonic() - started)

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata:
        """The model's metadata. Raises the same errors as `infer`."""
        return await self._call(lambda: self._transport.metadata(deadline), deadline)

    async def ready(self, *, deadline: Deadline) -> bool:
        """Whether the predictor reports its model as ready. There is one attempt; an error or a timeout means False."""
        try:
            async with asyncio.timeout(max(deadline.remaining, 0.0)):
                return await self._transport.ready(deadline)
        except (RetryableError, ServingError, TimeoutError):
            return False

    def pinned(self, version: str) -> Self:
        """A client for one version of the model. It shares the connections and limits, and is closed with this one."""
        other = copy.copy(self)
        other._transport = self._transport.pinned(version)
        return other

    async def close(self) -> None:
        """Closes all connections, also those in use."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, attempt: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
        self._budget.earn()
        attempts = 0
        while True:
            attempts += 1
            try:
                return await self._attempt(attempt, deadline)
            except RetryableError as retryable:
                pause = self._pause(attempts, retryable.retry_after, deadline)
                if pause is None:
                    raise retryable.error from retryable.__cause__
            await asyncio.sleep(pause)

    async def _attempt(self, attempt: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
        remaining = self._remaining(deadline)
        if not self._limiter.try_acquire():
            await self._limiter.acquire(remaining)
        started = monotonic()
        try:
            with timeout(self._remaining(deadline)):
                return await attempt()
        except TimeoutError:
            raise DeadlineExceeded(f"predictor {self.name} did not respond before the deadline") from None
        finally:
            self._limiter.release(monotonic() - started)

    def _remaining(self, deadline: Deadline) -> float:
        """The seconds that remain. Raises DeadlineExceeded when they are too few to start an attempt."""
        remaining = deadline.remaining
        if remaining < _LEAST_SECONDS:
            raise DeadlineExceeded(f"the deadline passed before predictor {self.name} was called")
        return remaining

    def _pause(self, attempts: int, retry_after: float | None, deadline: Deadline) -> float | None:
        """The seconds to wait before the next attempt; None when no further attempt is to be made."""
        limits = self._limits
        if attempts >= limits.attempts or (retry_after and not limits.wait_for_retry_after):
            return None
        # Full jitter: calls that failed at the same time are not repeated at the same time.
        jitter = random.uniform(0.0, min(limits.max_backoff_seconds, limits.backoff_seconds * 2 ** (attempts - 1)))
        pause = (retry_after or 0.0) + jitter
        if pause + _LEAST_SECONDS >= deadline.remaining or not self._budget.spend():
            return None
        return pause


def open_transport(
    base_url: str,
    model: str,
    version: str,
    predictor: str,
    limits: ClientLimits,
    headers: Mapping[str, str],
) -> Transport:
    """The transport for a URL, which sends `headers` with every call.

    Raises ValueError unless the URL has a host and the scheme is http or grpc.
    """
    url = urlsplit(base_url)
    if not url.hostname:
        raise ValueError(f"expected http://host:port or grpc://host:port, got {redacted(base_url)!r}")
    if url.scheme == "http":
        return RestTransport(url, model, version, predictor, limits, headers)
    if url.scheme == "grpc":
        # Importing grpcio takes 12 MB and 40 ms, so only a client that uses gRPC imports it.
        from common.client.rpc import GrpcTransport

        return GrpcTransport(url.netloc.rpartition("@")[2], model, version, predictor, limits, headers)
    raise ValueError(f"expected http:// or grpc://, got {redacted(base_url)!r}")
