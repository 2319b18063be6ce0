"""Connections to the Redis that holds the records of jobs."""

from __future__ import annotations

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

ANSWER_SECONDS = 2.0
_SOCKET_SECONDS = 10.0  # longer than any read that waits at the server


def connect(url: str, connections: int = 10) -> Redis:
    """A client that never repeats a command by itself: what may be repeated is known here alone.

    Callers beyond the number of connections wait for one, for `ANSWER_SECONDS` at most.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=_SOCKET_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
    )
    return Redis.from_pool(pool)
