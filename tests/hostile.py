"""Hostile requests to a service of iris, from a seed: `python -m tests.hostile URL GRPC --seed 1 --count 1000`.

Prints one line of JSON: how often each status came, and what was wrong. A connection that the server closes is a
refusal as well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import grpc.aio

from common.protocol.grpc import oip_pb2 as pb

PATIENCE_SECONDS = 40.0  # a request has a deadline of 30 s
INFER, PREDICT = "/v2/models/iris/infer", "/predict"
METHOD = "/inference.GRPCInferenceService/ModelInfer"
USUAL = ("Connection: close", "X-Request-Timeout-Seconds: 5")
MIB = 1 << 20
SIZES, DATATYPES, VALUES = (-1, 0, 1, 1 << 40), ("INT64", "BYTES", "FP16", "X"), ("1e999", "NaN", "null", "true")
Bytes = Callable[[random.Random], bytes]


def post(path: str, body: bytes, *fields: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *USUAL, f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


@cache
def listed(element: str, count: int) -> str:
    return "[" + ",".join([element] * count) + "]"


def tensor(data: str, shape: str = "[1,4]", datatype: str = "FP32", name: str = "features", more: str = "") -> bytes:
    inputs = f'{{"name":"{name}","shape":{shape},"datatype":"{datatype}","data":{data}}}'
    return f'{{"inputs":[{inputs}]{more}}}'.encode()


def binary(raw: bytes, shape: list[int], datatype: str = "FP32", stated: int | None = None, **more: object) -> bytes:
    size = {"binary_data_size": len(raw) if stated is None else stated}
    header = {"inputs": [{"name": "features", "shape": shape, "datatype": datatype, "parameters": size}], **more}
    text = json.dumps(header).encode()
    return post(INFER, text + raw, f"Inference-Header-Content-Length: {len(text)}")


def message(**fields: object) -> bytes:
    return pb.ModelInferRequest(model_name="iris", **fields).SerializeToString()  # type: ignore[arg-type]


def input_message(datatype: str, shape: list[int], **contents: object) -> bytes:
    one = pb.ModelInferRequest.InferInputTensor(name="features", datatype=datatype, shape=shape)
    if contents:
        one.contents.MergeFrom(pb.InferTensorContents(**contents))  # type: ignore[arg-type]
    return message(inputs=[one])


SMALL: dict[str, Bytes] = {
    "noise": lambda one: one.randbytes(one.randrange(1, 2000)),
    "noise as JSON": lambda one: post(INFER, one.randbytes(one.randrange(1, 2000))),
    "deep": lambda one: post(one.choice([INFER, PREDICT]), b"[" * one.randrange(1, 50_000)),
    "wrong shape": lambda one: post(INFER, tensor("[0]", str([one.choice(SIZES) for _ in range(4)]))),
    "long shape": lambda one: post(INFER, tensor("[0]", listed("1", one.randrange(1, 5000)))),
    "wrong datatype": lambda one: post(INFER, tensor("[0,0,0,0]", datatype=one.choice(DATATYPES))),
    "wrong name": lambda one: post(INFER, tensor("[0,0,0,0]", name="x" * one.randrange(1, 5000))),
    "wrong sizes": lambda one: binary(one.randbytes(16), [1, 4], stated=one.choice([-1, 0, 15, 17, 1 << 62])),
    "short body": lambda one: post(INFER, b"{}").replace(b"Length: 2", b"Length: 2000"),
    "wrong length": lambda one: post(INFER, b"{}").replace(b"Length: 2", b"Length: %d" % one.randrange(1 << 70)),
    "numbers": lambda one: post(INFER, tensor(f"[{one.choice(VALUES)},0,0,0]")),
    "rows of nothing": lambda one: post(PREDICT, f'{{"instances":{listed("{}", one.randrange(3000))}}}'.encode()),
    "fields": lambda one: post(INFER, b"{}", *["x: y"] * one.randrange(200)),
    "target": lambda one: post(INFER + "?" + "q" * one.randrange(20_000), b"{}"),
    "hidden request": lambda one: post(INFER, b"{}", "Transfer-Encoding: chunked"),
}  # fmt: skip
LARGE: dict[str, Bytes] = {
    "empty texts": lambda one: binary(bytes(60_000_000), [15_000_000], "BYTES"),
    "rows": lambda one: binary(bytes(60_000_000), [3_750_000, 4]),
    "JSON numbers": lambda one: post(INFER, tensor(listed("0", 3_900_000))),
    "JSON rows": lambda one: post(INFER, tensor(listed("0", 400_000), "[100000,4]")),
    "JSON lists": lambda one: post(INFER, tensor(listed("[]", 2_600_000))),
    "JSON texts": lambda one: post(INFER, tensor(listed('""', 2_600_000), datatype="BYTES")),
    "parameters": lambda one: post(INFER, tensor("[0]", more=f',"parameters":{{"a":{listed("[]", 2_500_000)}}}')),
    "inputs": lambda one: post(INFER, f'{{"inputs":{listed("{}", 2_600_000)}}}'.encode()),
    "instances": lambda one: post(PREDICT, f'{{"instances":{listed("{}", 2_600_000)}}}'.encode()),
    "JSON beyond": lambda one: post(INFER, bytes(60_000_000), "Content-Type: application/json"),
    "endless target": lambda one: b"POST /" + b"a" * (40 * MIB),
    "endless field": lambda one: b"POST / HTTP/1.1\r\nx: " + b"a" * (40 * MIB),
    "chunks": lambda one: (
        f"POST {INFER} HTTP/1.1\r\nHost: x\r\n{USUAL[1]}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + b"1\r\n[\r\n" * 2_000_000
    ),
}
MESSAGES: dict[str, Bytes] = {
    "noise": lambda one: one.randbytes(one.randrange(1, 2000)),
    "many inputs": lambda one: message() + b"*\x00" * one.choice([300, 300_000]),
    "typed": lambda one: input_message("FP32", [1, 4], fp32_contents=[0.0] * one.choice([5, 3_000_000])),
    "typed integers": lambda one: input_message("INT64", [1, 4], int64_contents=[0] * one.choice([5, 3_000_000])),
    "typed rows": lambda one: input_message("FP32", [100_000, 4], fp32_contents=[0.0] * 400_000),
    "raw": lambda one: message(raw_input_contents=[bytes(one.choice([4, 15_000_000]))]),
    "empty texts": lambda one: input_message("BYTES", [1], bytes_contents=[b""] * one.choice([5, 1_000_000])),
    "beyond": lambda one: bytes(20_000_000),
}


@cache
def _large(kind: str) -> bytes:
    return LARGE[kind](random.Random(1))


class Attack:
    """Sends requests from a seed, and counts how they end."""

    def __init__(self, address: str, rpc: str, seed: int, every: int) -> None:
        self._host, _, self._port = address.rpartition("/")[2].partition(":")
        self._rpc, self._random, self._every = rpc, random.Random(seed), every
        self.ends: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def run(self, count: int, callers: int) -> None:
        left = iter(range(count))
        await asyncio.gather(*(self._caller(left) for _ in range(callers)))

    async def _caller(self, left: object) -> None:
        async with grpc.aio.insecure_channel(self._rpc, options=[("grpc.max_send_message_length", -1)]) as channel:
            for _ in left:  # type: ignore[attr-defined]
                large = self._random.random() * self._every < 1
                if self._random.random() < 0.2:
                    await self._call(channel, self._random.choice(list(MESSAGES)) if large else "noise")
                else:
                    await self._send(self._random.choice(list(LARGE if large else SMALL)), large)

    async def _send(self, kind: str, large: bool) -> None:
        raw = _large(kind) if large else SMALL[kind](self._random)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                end = await self._exchange(raw, self._random.random() < 0.1)
        except TimeoutError:
            end = "hang"
        self._note(kind, end, end in ("hang", "500", "502"))

    async def _exchange(self, raw: bytes, leaves: bool) -> str:
        """The status of the response. A client that leaves does so within its request."""
        try:
            reader, writer = await asyncio.open_connection(self._host, int(self._port))
        except OSError:
            return "refused"
        try:
            writer.write(raw[: len(raw) // 2] if leaves else raw)
            if leaves:
                return "left"
            if not raw.startswith(b"POST") or b"\r\n\r\n" not in raw[:70_000]:
                writer.write_eof()
            line = await reader.readline()
            return line.split()[1].decode() if line.startswith(b"HTTP/1.") else "closed"
        except OSError:
            return "closed"
        finally:
            writer.transport.abort()

    async def _call(self, channel: grpc.aio.Channel, kind: str) -> None:
        raw = MESSAGES[kind](self._random)
        squeeze = self._random.choice([grpc.Compression.NoCompression, grpc.Compression.Gzip])
        method: Any = channel.unary_unary(METHOD)
        try:
            await method(raw, timeout=PATIENCE_SECONDS, compression=squeeze)
            end = "OK"
        except grpc.aio.AioRpcError as error:
            end = error.code().name
        self._note(f"gRPC: {kind}", end, end in ("UNKNOWN", "INTERNAL", "UNIMPLEMENTED"))

    def _note(self, kind: str, end: str, wrong: bool) -> None:
        self.ends[end] += 1
        if wrong and len(self.wrong) < 20:
            self.wrong.append(f"{kind}: {end}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("rpc")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--every", type=int, default=50, help="one request of so many is large")
    given = parser.parse_args()
    attack = Attack(given.url, given.rpc, given.seed, given.every)
    asyncio.run(attack.run(given.count, given.callers))
    sys.stdout.write(json.dumps({"ends": attack.ends, "wrong": attack.wrong}) + "\n")


if __name__ == "__main__":
    main()
