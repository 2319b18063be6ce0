"""The largest requests that a service of iris answers, and larger ones, from clients that read slowly or not at all."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from functools import partial
from itertools import cycle
from typing import Any

import grpc.aio
import numpy as np

from tests.hostile import INFER, METHOD, binary, input_message, listed, message, post, tensor

LEAVES_SECONDS = 3.0  # that a client stays which does not read
SLOW_BYTES, SLOW_SECONDS = 65_536, 0.05
ROWS = 100_000  # MAX_ROWS
UNREAD = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
BODIES = {
    "binary": binary(bytes(16 * ROWS), [ROWS, 4], parameters={"binary_data_output": True}),
    "binary, answered as JSON": binary(bytes(16 * ROWS), [ROWS, 4]),
    "JSON": post(INFER, tensor(listed("0.12345678901234", 4 * ROWS), f"[{ROWS},4]")),
    "JSON rows": post(INFER, tensor(listed("[0,0,0,0]", ROWS), f"[{ROWS},4]")),
    "binary, more than MAX_ROWS": binary(bytes(60_000_000), [3_750_000, 4]),
}
MESSAGES = {
    "raw": input_message("FP32", [ROWS, 4]) + message(raw_input_contents=[bytes(16 * ROWS)]),
    "typed": input_message("FP32", [ROWS, 4], fp32_contents=np.zeros(4 * ROWS)),
    "more than MAX_ROWS": input_message("FP32", [990_000, 4], fp32_contents=np.zeros(3_960_000)),
}


class Mix:
    """Callers that each send one request after another; `ends` counts how the requests end, by kind."""

    def __init__(self, url: str, address: str) -> None:
        self._host, _, self._port = url.rpartition("/")[2].partition(":")
        self._address = address
        self.ends: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()

    async def run(self, callers: int, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        await asyncio.gather(*(self._caller(random.Random(number)) for number in range(callers)))

    async def _caller(self, order: random.Random) -> None:
        ways: dict[str, Any] = {}
        for kind, body in BODIES.items():
            ways[kind] = partial(self._post, body)
            ways[f"{kind}, read slowly"] = partial(self._post, body, SLOW_SECONDS)
            ways[f"{kind}, not read"] = partial(self._post_unread, body)
        for kind, raw in MESSAGES.items():
            ways[f"gRPC: {kind}"] = partial(self._call, raw)
            ways[f"gRPC: {kind}, not read"] = partial(self._call_unread, raw)
        for kind in cycle(order.sample(list(ways), len(ways))):
            if time.monotonic() > self._end:
                return
            end = await ways[kind]()
            self.ends[end] += 1
            self.kinds[f"{kind}: {end}"] += 1

    async def _post(self, body: bytes, pause: float = 0.0) -> str:
        reader, writer = await asyncio.open_connection(self._host, int(self._port), limit=SLOW_BYTES)
        try:
            writer.write(body)
            line = await reader.readline()
            while await reader.read(SLOW_BYTES):
                if time.monotonic() > self._end:
                    break
                await asyncio.sleep(pause)
            return line.split()[1].decode() if line else "closed"
        except OSError:
            return "closed"
        finally:
            writer.transport.abort()

    async def _post_unread(self, body: bytes) -> str:
        _, writer = await asyncio.open_connection(self._host, int(self._port), limit=1)
        writer.write(body)
        await asyncio.sleep(LEAVES_SECONDS)
        writer.transport.abort()
        return "left"

    async def _call(self, raw: bytes) -> str:
        async with grpc.aio.insecure_channel(self._address, options=[("grpc.max_receive_message_length", -1)]) as one:
            try:
                method: Any = one.unary_unary(METHOD)
                await method(raw)
                return "OK"
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)

    async def _call_unread(self, raw: bytes) -> str:
        async with grpc.aio.insecure_channel(self._address, options=UNREAD) as channel:
            method: Any = channel.stream_stream(METHOD)  # grpcio reads a response only when it is asked for
            call = method()
            try:
                await call.write(raw)
                await call.done_writing()
                await asyncio.sleep(LEAVES_SECONDS)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return str((await call.code()).name)
            return "left"
