"""A load balancer for local processes: `python -m runtimes.balancer --http 8000=host:port,host:port --tcp 8001=...`.

It does on a machine without nginx what compose/nginx/balancer.conf does in a container. HTTP requests go to the
replicas in turn, and to another one if a replica refuses, hangs or answers 503: an inference has no side effects. Other
ports, as those of gRPC, are distributed by connection. A replica whose /readyz fails is asked only if no other is left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runtimes.balancer_http import HttpBalancer
from runtimes.replicas import Address, Replicas, close, end_all, remember

_DRAIN_SECONDS = 15.0
_TCP_DRAIN_SECONDS = 2.0  # whether a connection has a call in flight cannot be seen
_CONNECT_SECONDS = 1.0
_BLOCK = 65536


class TcpBalancer:
    """Passes bytes between a connection and a replica."""

    def __init__(self, replicas: Replicas, column: int) -> None:
        self._replicas, self._column = replicas, column
        self._serving: set[asyncio.Task[None]] = set()

    async def close(self, seconds: float) -> None:
        """End all connections, after a moment for the calls in flight."""
        await end_all(self._serving, min(seconds, _TCP_DRAIN_SECONDS))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        remember(self._serving)
        try:
            await self._connect(reader, writer)
        finally:
            await close(writer)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for replica in self._replicas.in_turn():
            try:
                opening = asyncio.open_connection(*replica.addresses[self._column])
                there, back = await asyncio.wait_for(opening, _CONNECT_SECONDS)
            except (OSError, TimeoutError):
                replica.healthy = False
                continue
            try:
                await asyncio.gather(_copy(reader, back), _copy(there, writer))
            finally:
                await close(back)
            return


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end of one side, then end the other."""
    with contextlib.suppress(OSError):
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
    await close(writer)


@asynccontextmanager
async def running(
    host: str, http: dict[int, list[Address]], tcp: dict[int, list[Address]], drain_seconds: float = _DRAIN_SECONDS
) -> AsyncIterator[None]:
    """A context in which the ports are served. The nth addresses of all ports belong to the same replica."""
    columns = [*http.values(), *tcp.values()]
    replicas = Replicas([list(addresses) for addresses in zip(*columns, strict=True)])
    watching = asyncio.create_task(replicas.watch()) if http else None
    servers, balancers = [], []
    try:
        for column, port in enumerate([*http, *tcp]):
            kind = HttpBalancer if port in http else TcpBalancer
            balancers.append(kind(replicas, column))
            servers.append(await asyncio.start_server(balancers[-1].serve, host, port))
        yield
    finally:
        for server in servers:
            server.close()
        await asyncio.gather(*(balancer.close(drain_seconds) for balancer in balancers))
        if watching:
            watching.cancel()


async def _run(options: argparse.Namespace) -> None:
    """Serve until SIGTERM, then let the requests in flight end."""
    stopped = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        asyncio.get_running_loop().add_signal_handler(one, stopped.set)
    async with running(options.host, dict(options.http), dict(options.tcp)):
        await stopped.wait()


def _port(text: str) -> tuple[int, list[Address]]:
    """`8000=127.0.0.1:5001,127.0.0.1:5002` as a port and its addresses."""
    port, _, targets = text.partition("=")
    split = [target.rpartition(":") for target in targets.split(",")]
    return int(port), [(host, int(number)) for host, _, number in split]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--http", type=_port, action="append", default=[], help="PORT=HOST:PORT,...")
    parser.add_argument("--tcp", type=_port, action="append", default=[], help="PORT=HOST:PORT,...")
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
