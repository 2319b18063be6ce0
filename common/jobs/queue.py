"""What a worker knows of a broker. A message is a job's id: it only wakes a worker, and the record decides.

So a message may come twice, late, or for a job that is over. `RedisRecords.claim` says what becomes of each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from common.jobs.redis.records import JobMessage


class Queue(Protocol):
    """A worker's access to the messages of jobs. Its methods raise NotReady while the broker does not answer."""

    async def receive(self, most: int, seconds: float, running: Collection[str]) -> list[JobMessage]:
        """The next messages, at most so many; none if there are none within `seconds`.

        `running` are the ids of messages whose jobs this worker works on.
        """

    async def hand_back(self, messages: Sequence[JobMessage]) -> None:
        """Gives messages that no attempt has begun for to another worker at once."""

    async def close(self, running: Collection[str]) -> None:
        """Hands back what has been delivered to this worker and is not running, and closes the connection."""
