"""The composing client: whether, when and how often a predictor is called."""

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
from common.protocol.tensors import Array
from common.request.deadline import Deadline

T = TypeVar("T")

Observe = Callable[[str, float], None]
_SPENT = 0.001  # with less than a millisecond left no call is started


class PredictorClient:
    """One model of one predictor, at `http://host:port` (REST) or `grpc://host:port`.

    `name` is what errors call it (the model's name unless given); `version` pins one version of the model; `observe`
    hears how each inference ended and how many seconds it took. Nothing is opened before the first call. Use as an
    async context manager, or close it.
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
    ) -> None:
        self.name = name or model
        self._limits = limits or ClientLimits()
        self._transport = transport or open_transport(base_url, model, version, self.name, self._limits)
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
        """Runs the model on arrays by input name; all outputs, or those named.

        `headers` are sent along (request id, trace); `parameters` are those of the protocol's request.

        Raises InvalidInput or PreprocessingMismatch with the predictor's message when it refuses the input,
        UpstreamModelNotFound when it does not have this model or version, Overloaded, DeadlineExceeded, and
        UpstreamFailed for every other failure. Cancelling the calling task closes the connection.
        """
        transport = self._transport
        request = PredictorRequest(inputs, deadline, outputs or (), headers or {}, parameters or {})
        started = monotonic()
        outcome = "cancelled"
        try:
            result = await self._call(lambda: transport.infer(request), deadline)
            outcome = "ok"
            return result
        except ServingError as error:
            outcome = error.title.lower()
            raise
        finally:
            if self._observe is not None:
                self._observe(outcome, monotonic() - started)

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata:
        """What the predictor says of its model. Raises as `infer` does."""
        return await self._call(lambda: self._transport.metadata(deadline), deadline)

    async def ready(self, *, deadline: Deadline) -> bool:
        """Whether the predictor says, within the deadline and at the first attempt, that its model can answer."""
        try:
            async with asyncio.timeout(max(deadline.remaining, 0.0)):
                return await self._transport.ready(deadline)
        except (RetryableError, ServingError, TimeoutError):
            return False

    def pinned(self, version: str) -> Self:
        """The same predictor, connections and limits, for one version of its model; closed with this one."""
        other = copy.copy(self)
        other._transport = self._transport.pinned(version)
        return other

    async def close(self) -> None:
        """Drops the connections, idle and busy."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, attempt: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
        self._budget.earn()
        tried = 0
        while True:
            tried += 1
            try:
                return await self._attempt(attempt, deadline)
            except RetryableError as unanswered:
                pause = self._pause(tried, unanswered.after, deadline)
                if pause is None:
                    raise unanswered.error from unanswered.__cause__
            await asyncio.sleep(pause)

    async def _attempt(self, attempt: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
        left = self._left(deadline)
        if not self._limiter.try_acquire():
            await self._limiter.acquire(left)
        started = monotonic()
        try:
            with timeout(self._left(deadline)):
                return await attempt()
        except TimeoutError:
            raise DeadlineExceeded(f"predictor {self.name} gave no answer before the deadline") from None
        finally:
            self._limiter.release(monotonic() - started)

    def _left(self, deadline: Deadline) -> float:
        """Seconds left for a call; DeadlineExceeded where it is not worth starting."""
        left = deadline.remaining
        if left < _SPENT:
            raise DeadlineExceeded(f"the deadline passed before predictor {self.name} was called")
        return left

    def _pause(self, tried: int, after: float | None, deadline: Deadline) -> float | None:
        """How long to wait before the next attempt; None where there is to be none."""
        limits = self._limits
        if tried >= limits.attempts or (after and not limits.patient):
            return None
        # Full jitter: callers that failed together do not come back together.
        jitter = random.uniform(0.0, min(limits.max_backoff_seconds, limits.backoff_seconds * 2 ** (tried - 1)))
        pause = (after or 0.0) + jitter
        if pause + _SPENT >= deadline.remaining or not self._budget.spend():
            return None
        return pause


def open_transport(base_url: str, model: str, version: str, predictor: str, limits: ClientLimits) -> Transport:
    """The transport for a URL's scheme; ValueError for any but http and grpc, and without a host."""
    url = urlsplit(base_url)
    if not url.hostname:
        raise ValueError(f"expected http://host:port or grpc://host:port, got {base_url!r}")
    if url.scheme == "http":
        return RestTransport(url, model, version, predictor, limits)
    if url.scheme == "grpc":
        # grpcio costs 12 MB and 40 ms to import: only who calls over gRPC pays.
        from common.client.rpc import GrpcTransport

        return GrpcTransport(url.netloc, model, version, predictor, limits)
    raise ValueError(f"expected http:// or grpc://, got {base_url!r}")
