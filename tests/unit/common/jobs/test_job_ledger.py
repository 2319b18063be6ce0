"""Random moves of workers, sweepers and callers: each job is over once, and the ledger closes."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from common.errors import NotReady
from common.jobs.record import JobOutcome, JobState
from common.jobs.redis.records import Attempt
from tests.unit.common.jobs.test_redis_records import claimed, messages, new, records


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_happens_in_between_each_job_is_over_once_and_the_ledger_closes(redis: Any, seed: int) -> None:
    """Random moves of workers, sweepers and callers; a result that was written once is never written again."""
    chance = random.Random(seed)
    jobs = records(redis, lease_seconds=0.0, attempts=3)
    held: list[Attempt] = []
    ids = [(await jobs.submit(new(order=chance.choice(["", "a", "b"])))).id for _ in range(25)]
    results: dict[str, Any] = {}
    for step in range(300):
        move = chance.choice(["claim", "finish", "finish", "sweep", "cancel", "give back", "renew", "lose"])
        if move == "claim":
            held += [one.attempt for one in await claimed(redis, jobs, f"w{step}") if one.attempt]
        elif move == "sweep":
            await jobs.sweep()
        elif move == "lose":
            if chance.random() < 0.2:
                await redis.xtrim("{jobs}:queue", maxlen=0, approximate=False)
        elif move == "cancel" and chance.random() < 0.1:
            await asyncio.gather(jobs.cancel(chance.choice(ids)), return_exceptions=True)
        elif held:
            attempt = held.pop(chance.randrange(len(held)))
            if move == "finish":
                await jobs.finish([(attempt, JobOutcome({"step": step}))])
            elif move == "give back":
                await jobs.give_back([attempt], chance.choice([None, NotReady("away")]))
            else:
                await jobs.renew(f"w{step}", [attempt])
        for job in ids if step % 10 == 0 else ():
            if (record := await jobs.get(job)).finished:
                assert results.setdefault(job, record.document()) == record.document()
    while await redis.zcard("{jobs}:deadlines"):
        await jobs.sweep(resend_seconds=0.0)
        await jobs.finish([(one.attempt, JobOutcome({})) for one in await claimed(redis, jobs) if one.attempt])
    states = {(await jobs.get(job)).state for job in ids}
    assert states <= {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    counts = await jobs.counts()
    over = {name: counts.get(name, 0) for name in ("succeeded", "failed", "cancelled", "expired", "dead")}
    assert sum(over.values()) == len(ids)
    await claimed(redis, jobs)
    assert (await redis.get("{jobs}:bytes"), await messages(redis)) == (b"0", [])
