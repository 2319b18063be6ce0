"""The gRPC load generator: a msgpack `Plan` on standard input, a JSON `Result` on standard output.

Requests are serialized before the load starts, and responses are not parsed. Every connection is a channel with its
own subchannel pool; otherwise all channels of a process would share one TCP connection.
"""

import asyncio
import gc
import sys
import time

import grpc
import grpc.aio
import msgspec

from bench.plan import Ledger, Plan, Result

OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


async def connection(plan: Plan, ledger: Ledger) -> None:
    """One channel: call, wait for the response, record it, call again."""
    async with grpc.aio.insecure_channel(f"{plan.host}:{plan.port}", options=OPTIONS) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(plan.method)
        while (request := ledger.next_request()) is not None:
            began = time.perf_counter()
            try:
                await call(request, timeout=plan.answer_timeout_seconds)
            except grpc.aio.AioRpcError as error:
                ledger.failed(error.code().name)
                await asyncio.sleep(0)  # a refusal known at once must not keep the loop from ending the turn
            else:
                ledger.answered(time.perf_counter() - began)


async def drive(plan: Plan) -> Result:
    """Run the plan; for callers that already have an event loop."""
    ledger = Ledger(plan)
    tasks = [asyncio.create_task(connection(plan, ledger)) for _ in range(plan.connections)]
    result = await ledger.measure()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return result


def main() -> None:
    """Read the plan from standard input, run it, write the result."""
    plan = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)
    gc.disable()  # as in the HTTP generator; a turn is short
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(drive(plan))))


if __name__ == "__main__":
    main()
