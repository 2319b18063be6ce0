"""Work without a server, measured like a server: called in a loop in its own process, one call at a time."""

import gc
import sys
import time
from collections.abc import Callable

import msgspec

from bench.plan import Clock, Plan, sum_up


def given() -> Plan:
    """The plan on standard input."""
    return msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)


def call_for(work: Callable[[], object], seconds: float) -> list[float]:
    """Call repeatedly for so many seconds; the seconds that each call took."""
    durations, now = [], time.perf_counter()
    end = now + seconds
    while now < end:
        began = now
        work()
        now = time.perf_counter()
        durations.append(now - began)
    return durations


def report(plan: Plan, work: Callable[[], object]) -> None:
    """Do the work for the time of the plan and write a `Result` to standard output, as the load generators do."""
    gc.disable()  # as there
    call_for(work, plan.warm_up_seconds)
    began = Clock.now()
    durations = call_for(work, plan.seconds)
    result = sum_up(len(durations), began, Clock.now(), durations, {})
    alone = msgspec.structs.replace(result, server_cpu=result.busy * result.seconds / result.answered)
    sys.stdout.buffer.write(msgspec.json.encode(alone))
