"""Counts what a gRPC call takes until its client has read the response, and disconnects a client that does not read.

grpcio keeps a response until HTTP/2 lets the client have all of it, and does not say how much of it the client has
read. It cannot end a call whose response is being sent either: `abort` and `cancel` end the handler, and the bytes
stay. So a client gets the time of the whole response at once, and then its connection is shut down.
tests/unit/common/endpoints/test_grpc_unread.py fails without it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from urllib.parse import unquote

from common.endpoints.grpc_calls import CallContext, when_done
from common.http.limits import ReadBounds
from common.request.capacity import Capacity

CALL = 24_576  # bytes that grpcio takes for a call, however small its messages are
COPIES = 2  # of a response: the one that it was given, and its own


class CallMemory:
    """What a call holds beside its request, from its arrival until grpcio is done with it."""

    def __init__(self, call: CallContext, capacity: Capacity, even_if_full: bool = False) -> None:
        """Raises Overloaded when all requests together hold too much, unless `even_if_full` is set."""
        self._call, self._capacity, self._held = call, capacity, 0
        self._timer: asyncio.TimerHandle | None = None
        self._hold(CALL, even_if_full)
        when_done(call, self._end)

    def hold_response(self, size: int, bounds: ReadBounds, even_if_full: bool = False) -> None:
        """Counts a response, which the client has to read within the bounds. Raises Overloaded, PayloadTooLarge."""
        self._hold(COPIES * size, even_if_full)
        self._timer = asyncio.get_running_loop().call_later(bounds.seconds(size), self._disconnect)

    def _disconnect(self) -> None:
        shut_down_connection(self._call.peer())

    def _hold(self, size: int, even_if_full: bool) -> None:
        self._capacity.hold(size, even_if_full, own=self._held)
        self._held += size

    def _end(self) -> None:
        self._capacity.give_back(self._held)
        if self._timer is not None:
            self._timer.cancel()


def shut_down_connection(peer: str) -> None:
    """Shuts down this process's connection with a peer, which is named as grpcio does, such as ipv4:127.0.0.1:40000.

    grpcio then sees that the connection is closed, and cancels its calls.
    """
    host, _, port = unquote(peer).partition(":")[2].rpartition(":")
    wanted = host.strip("[]").partition("%")[0], int(port)
    for descriptor in os.listdir("/dev/fd"):
        connection = _connection(int(descriptor))
        if connection is not None:
            with connection:
                if _peer(connection) == wanted:
                    connection.shutdown(socket.SHUT_RDWR)


def _connection(descriptor: int) -> socket.socket | None:
    """The socket with this descriptor, as a duplicate, so that another one cannot take its place meanwhile."""
    try:
        duplicate = os.dup(descriptor)
    except OSError:
        return None
    if stat.S_ISSOCK(os.fstat(duplicate).st_mode):
        return socket.socket(fileno=duplicate)
    os.close(duplicate)
    return None


def _peer(connection: socket.socket) -> tuple[str, int] | None:
    """The other end's address, IPv4 also where the socket is one of IPv6; None for what has none."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        host, port = connection.getpeername()[:2]
    except OSError:
        return None
    return host.removeprefix("::ffff:").partition("%")[0], port
