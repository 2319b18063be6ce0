"""The feature store: rows of numbers in Redis, by item id. One command reads many rows.

This is the only module of the pattern that uses the client of Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any, Self

import numpy as np
import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from common.errors import InvalidInput, NotReady, ServingError
from common.protocol.tensors import Array
from common.request.context import RequestContext
from common.request.deadline import Deadline

_COLUMNS, _ROW = "features:columns", "features:row:"
_DTYPE = np.dtype("<f4")
_CHECK_SECONDS = 0.5
_STORE = "the feature store (redis)"
_TIME_SHARE = 0.8  # of the remaining time; the rest is for telling the caller that the store did not respond


class FeatureStore:
    """Rows of FP32 with the same columns, at `redis://host:port`. It connects at its first use.

    Its methods raise NotReady when Redis does not respond in time.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0))
        self._timeout = timeout_seconds
        self.filled = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._redis.aclose()

    async def rows(self, context: RequestContext, ids: Sequence[str], columns: Sequence[str]) -> Array:
        """FP32 of shape [ids, columns]; the stage `fetch` is its time. Raises InvalidInput for an unknown id."""
        started = perf_counter()
        names, *rows = await self._ask(self._redis.mget([_COLUMNS, *(_ROW + one for one in ids)]), context.deadline)
        context.stages["fetch"] = (perf_counter() - started) * 1e3
        stored = orjson.loads(names or b"[]")
        if missing := [name for name in columns if name not in stored]:
            raise NotReady(f"{_STORE} has no {', '.join(missing)}", retry_after=1)
        if unknown := [index for index, row in enumerate(rows) if row is None]:
            raise InvalidInput.at(f"items[{unknown[0]}]", f"{ids[unknown[0]]!r} is not in the feature store")
        array = np.frombuffer(b"".join(rows), _DTYPE).reshape(len(ids), len(stored))
        return array if list(columns) == stored else array[:, [stored.index(name) for name in columns]]

    async def keep_filled(self, columns: Sequence[str], items: Mapping[str, Sequence[float]]) -> None:
        """Writes these items whenever the store is empty, in one command, so that no reader sees only some of them."""
        packed: dict[str, bytes] = {_ROW + one: np.array(row, _DTYPE).tobytes() for one, row in items.items()}
        while True:
            with suppress(NotReady):
                if not await self._ask(self._redis.exists(_COLUMNS), Deadline.after(1)):
                    await self._ask(self._redis.mset({**packed, _COLUMNS: orjson.dumps(columns)}), Deadline.after(1))
                self.filled = True
            await asyncio.sleep(_CHECK_SECONDS)

    async def _ask(self, answer: Awaitable[Any], deadline: Deadline) -> Any:
        try:
            async with asyncio.timeout(min(self._timeout, max(_TIME_SHARE * deadline.remaining, 0.0))):
                return await answer
        except TimeoutError:
            raise NotReady(f"{_STORE} did not respond in time", retry_after=1) from None
        except RedisError as error:
            raise NotReady(f"{_STORE} failed: {type(error).__name__}", retry_after=1) from None


def store_failure(error: ServingError) -> NotReady | None:
    """The store's failure as the store itself words it, from a predictor's error that quotes it; None for other errors.

    So a caller is told the same whether the proxy or the predictors read the store.
    """
    _, found, reason = error.detail.partition(_STORE)
    if not found or isinstance(error, InvalidInput):
        return None
    return NotReady(_STORE + reason.partition(";")[0], retry_after=1)
