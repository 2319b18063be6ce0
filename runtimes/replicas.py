"""The replicas behind a local balancer, and which of them are ready."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

Address = tuple[str, int]
_EVERY_SECONDS = 0.5
_PROBE_SECONDS = 1.0
_PROBE = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass
class Replica:
    """One replica. `addresses` has one address for each port of the balancer, the HTTP ports first."""

    addresses: list[Address]
    healthy: bool = True


class Replicas:
    """Gives the replicas in turn: the healthy ones first, each request beginning with another one."""

    def __init__(self, addresses: list[list[Address]]) -> None:
        self._all = [Replica(one) for one in addresses]
        self._next = 0
        self.count = len(self._all)

    def in_turn(self) -> Iterator[Replica]:
        """Every replica once, in the order in which a request should try them."""
        start = self._next = (self._next + 1) % len(self._all)
        order = self._all[start:] + self._all[:start]
        yield from sorted(order, key=lambda replica: not replica.healthy)

    async def watch(self) -> None:
        """Ask each replica for its readiness, again and again."""
        while True:
            ready = await asyncio.gather(*(_is_ready(one.addresses[0]) for one in self._all))
            for replica, found in zip(self._all, ready, strict=True):
                replica.healthy = found
            await asyncio.sleep(_EVERY_SECONDS)


async def _is_ready(address: Address) -> bool:
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(*address)
            try:
                writer.write(_PROBE)
                return b" 200 " in await reader.readline()
            finally:
                await close(writer)
    except (OSError, TimeoutError):
        return False


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever its state."""
    with contextlib.suppress(OSError):
        writer.close()
        await writer.wait_closed()


def remember(tasks: set[asyncio.Task[None]]) -> None:
    """Keep the current task in `tasks` until it ends."""
    task = asyncio.current_task()
    assert task is not None
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def end_all(tasks: set[asyncio.Task[None]], seconds: float) -> None:
    """Wait up to `seconds` for tasks, then cancel those that are left."""
    if tasks:
        _, left = await asyncio.wait(tasks, timeout=seconds)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
