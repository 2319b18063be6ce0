"""Work without a server, measured as a server is: called in a loop, in a process of its own, one call at a time."""

import gc
import sys
import time
from collections.abc import Callable

import msgspec

from bench.plan import Clock, Plan, sum_up


def given() -> Plan:
    """The plan that this process was given on standard input."""
    return msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)


def call_for(work: Callable[[], object], seconds: float) -> list[float]:
    """Call again and again for a while; the seconds each call took."""
    durations, now = [], time.perf_counter()
    end = now + seconds
    while now < end:
        began = now
        work()
        now = time.perf_counter()
        durations.append(now - began)
    return durations


def report(plan: Plan, work: Callable[[], object]) -> None:
    """Do the work for as long as the plan says, and write a `Result` to standard output, as the load generators do."""
    gc.disable()  # as there
    call_for(work, plan.warm_up_seconds)
    began = Clock.now()
    durations = call_for(work, plan.seconds)
    result = sum_up(len(durations), began, Clock.now(), durations, {})
    alone = msgspec.structs.replace(result, server_cpu=result.busy * result.seconds / result.answered)
    sys.stdout.buffer.write(msgspec.json.encode(alone))
