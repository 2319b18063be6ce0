"""Decodes requests and encodes responses beside the event loop where they are large, and counts what they then hold.

Work on the event loop keeps every other request waiting, the probes among them. tests/unit/patterns/test_event_loop.py
shows each route.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol, TypeVar, TypeVarTuple

from common.protocol.tensors import Array
from common.request.capacity import LARGE, SMALL
from common.request.context import RequestContext


class Serializable(Protocol):
    """A protobuf message."""

    def SerializeToString(self) -> bytes: ...


T = TypeVar("T")
M = TypeVar("M", bound=Serializable)
Ts = TypeVarTuple("Ts")
MOST_VALUES = 2_048  # named values, each decoded by itself, on the event loop: about ten milliseconds


async def decoded(context: RequestContext, size: int, decode: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Calls `decode`, beside the event loop if it has more than LARGE bytes to read."""
    if size <= LARGE:
        return decode(*arguments)
    return await context.in_thread(decode, *arguments)


async def decoded_inputs(
    context: RequestContext, size: int, decode: Callable[[*Ts], dict[str, Array]], *arguments: *Ts, takes: int = 0
) -> dict[str, Array]:
    """The same for the inputs of a model, which then count as memory that is held.

    `takes`: the bytes of the inputs if they may be more than the body; they count before anything is decoded.
    """
    context.hold(takes)
    inputs = await decoded(context, size, decode, *arguments)
    held = sum(array.nbytes for array in inputs.values())
    if size > LARGE:
        texts = any(array.dtype == object for array in inputs.values())
        context.hold(held * (takes <= SMALL) + size * texts)
    return inputs


async def encoded(context: RequestContext, size: int, encode: Callable[[*Ts], bytes], *arguments: *Ts) -> bytes:
    """Calls `encode`, beside the event loop if the response has more than SMALL bytes, of which `size` is an estimate.

    The estimate counts as held until the size is known.
    """
    if size <= SMALL:
        return encode(*arguments)
    context.hold(size)
    body = await context.in_thread(encode, *arguments)
    context.recount(size, len(body))
    return body


async def encoded_message(context: RequestContext, size: int, encode: Callable[[*Ts], M], *arguments: *Ts) -> M | bytes:
    """The same for a gRPC message: a large one is serialized at once."""
    if size <= LARGE:
        return encode(*arguments)
    return await encoded(context, size, _serialized, encode, *arguments)


def _serialized(encode: Callable[[*Ts], Serializable], *arguments: *Ts) -> bytes:
    return encode(*arguments).SerializeToString()


def values_size(size: int, rows: int, columns: int) -> int:
    """The bytes of a body of rows of named values, or more than LARGE for one that has many values in few bytes.

    Rows share the values of a context, so a short body may have many.
    """
    return size if rows * max(columns, 1) <= MOST_VALUES else max(size, LARGE + 1)


def rows_size(rows: int, names: Collection[str], values: int = 1) -> int:
    """About the bytes of an answer that has an object for each row: numbers under these names, or `values` of them."""
    return rows * (60 + sum(len(name) + 20 for name in names) + 14 * values)
