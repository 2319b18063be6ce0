"""The queue is bounded, deadlines are kept while the model runs, and a delay fills runs without holding a full one."""

from __future__ import annotations

import asyncio

import pytest

from common.errors import DeadlineExceeded, NotReady, Overloaded
from common.inference.batching import BatchPolicy
from common.inference.warm_up import RunCost
from tests.unit.common.inference.fake_sessions import (
    IN_THREAD,
    INLINE,
    INLINE_WHILE_SMALL,
    ROOMY,
    HeldSession,
    SumSession,
    ask,
    batcher,
    batcher_metrics,
)


async def together(*answers: asyncio.Future[list[float]]) -> list[list[float]]:
    return list(await asyncio.gather(*answers))


async def test_requests_of_one_turn_share_a_run() -> None:
    session = SumSession()
    shared = batcher(session, INLINE)
    answers = await together(ask(shared, 1), ask(shared, 2, 3), ask(shared, 4))
    assert answers == [[2], [4, 6], [8]]
    assert [len(run) for run in session.runs] == [4]


async def test_a_lone_request_runs_at_once() -> None:
    shared = batcher(SumSession(), INLINE)
    answer = ask(shared, 1)
    for _ in range(4):  # turns of the loop: the task, its run, its answer
        await asyncio.sleep(0)
    assert answer.done()


async def test_a_run_waits_for_requests_that_have_been_read_already() -> None:
    session, starting = SumSession(), 1
    shared = batcher(session, INLINE, requests_starting=lambda: starting)
    first = ask(shared, 1)
    await asyncio.sleep(0)
    second = ask(shared, 2)
    await asyncio.sleep(0)
    starting = 0
    assert [await first, await second] == [[2], [4]]
    assert [len(run) for run in session.runs] == [2]


async def test_a_run_does_not_wait_for_ever_for_requests_that_are_never_begun() -> None:
    session = SumSession()
    assert await ask(batcher(session, INLINE, requests_starting=lambda: 1), 1) == [2]


async def test_a_slow_request_does_not_block_the_event_loop() -> None:
    session = HeldSession()
    shared = batcher(session, IN_THREAD)
    answer = ask(shared, 1)
    await session.running()
    assert not answer.done()
    session.release.set()
    assert await answer == [2]


async def test_no_run_holds_more_rows_than_allowed() -> None:
    session = SumSession()
    shared = batcher(session, INLINE, BatchPolicy(max_rows=3, queue=100))
    await asyncio.gather(ask(shared, 1, 2), ask(shared, 3, 4), ask(shared, 5), ask(shared, *range(7)), ask(shared, 6))
    assert [len(run) for run in session.runs] == [2, 3, 7, 1]


async def test_rows_of_different_shapes_never_share_a_run() -> None:
    session = SumSession()
    shared = batcher(session, INLINE)
    widths = [1, 1, 2, 2, 1]
    answers = await together(*(ask(shared, 1, width=width) for width in widths))
    assert answers == [[width] for width in widths]
    assert [run.shape for run in session.runs] == [(2, 1), (2, 2), (1, 1)]


async def test_the_queue_takes_exactly_as_many_as_it_may() -> None:
    session, noted = HeldSession(), batcher_metrics()
    shared = batcher(session, IN_THREAD, BatchPolicy(max_rows=8, queue=3), noted)
    first = ask(shared, 1)
    await session.running()
    queued = [ask(shared, number) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    for _ in range(10):
        with pytest.raises(Overloaded, match=r"the queue of the model is full: 3 requests wait already") as caught:
            await ask(shared, 5)
        assert caught.value.retry_after
    assert (shared.depth, noted.queue_full.value) == (3, 10)
    session.release.set()
    assert await together(first, *queued) == [[2], [4], [6], [8]]
    assert shared.depth == 0


async def test_a_cancelled_request_frees_its_place_in_the_queue() -> None:
    session, noted = HeldSession(), batcher_metrics()
    shared = batcher(session, IN_THREAD, BatchPolicy(max_rows=1, queue=2), noted)
    first = ask(shared, 1)
    await session.running()
    patient, impatient = ask(shared, 2), ask(shared, 3)
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient])
    assert shared.depth == 1
    late = ask(shared, 4)
    await asyncio.sleep(0)
    assert shared.depth == 2
    session.release.set()
    assert await together(first, patient, late) == [[2], [4], [8]]
    assert 3.0 not in {row[0] for run in session.runs for row in run.tolist()}
    assert noted.cancelled.value == 1


@pytest.mark.parametrize("cost", [IN_THREAD, INLINE_WHILE_SMALL])
async def test_a_deadline_is_kept_while_the_model_runs(cost: RunCost) -> None:
    """Also for requests that are quick each, and slow only together."""
    session = HeldSession()
    shared = batcher(session, cost)
    answers = [ask(shared, number, seconds=0.05) for number in (1, 2)]
    async with asyncio.timeout(20):
        for answer in answers:
            with pytest.raises(DeadlineExceeded, match="before the model had answered"):
                await answer
    assert shared.running_for > 0, "the run is still under way"
    session.release.set()
    await shared.close()


async def test_a_run_that_never_ends_fails_only_the_requests_in_it() -> None:
    session = HeldSession(least=2)
    shared = batcher(session, INLINE_WHILE_SMALL, BatchPolicy(max_rows=2, queue=100))
    first, second, *rest = [ask(shared, number, seconds=1 if number < 2 else 30) for number in range(5)]
    async with asyncio.timeout(20):
        assert await together(*rest) == [[4], [6], [8]]
        for answer in (first, second):
            with pytest.raises(DeadlineExceeded):
                await answer
    session.release.set()
    await shared.close()


async def test_what_expires_in_the_queue_is_not_computed() -> None:
    session = HeldSession()
    shared = batcher(session, IN_THREAD)
    first = ask(shared, 1)
    await session.running()
    with pytest.raises(DeadlineExceeded):
        await ask(shared, 2, seconds=0.02)
    session.release.set()
    await first
    await shared.close()
    assert [run.tolist() for run in session.runs] == [[[1, 1]]]


async def test_a_quick_request_overtakes_a_long_run() -> None:
    session = HeldSession(least=2)
    shared = batcher(session, INLINE_WHILE_SMALL)
    long = ask(shared, 1, 2, 3)
    await session.running()
    assert await ask(shared, 4) == [8]
    assert not long.done()
    session.release.set()
    assert await long == [2, 4, 6]


async def test_what_came_during_a_run_is_the_next_one() -> None:
    session = HeldSession()
    shared = batcher(session, IN_THREAD)
    first = ask(shared, 1)
    await session.running()
    rest = [ask(shared, number) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    session.release.set()
    await asyncio.gather(first, *rest)
    assert [len(run) for run in session.runs] == [1, 3]


async def test_a_delay_lets_later_requests_share_the_run() -> None:
    session = SumSession()
    shared = batcher(session, INLINE, BatchPolicy(max_rows=3, queue=100, delay=600))
    answers = []
    for number in range(3):
        await asyncio.sleep(0)
        answers.append(ask(shared, number))
    async with asyncio.timeout(20):
        await together(*answers)
    assert [len(run) for run in session.runs] == [3]


async def test_a_batch_delay_ends_without_further_requests() -> None:
    shared = batcher(SumSession(), INLINE, BatchPolicy(max_rows=3, queue=100, delay=0.01))
    async with asyncio.timeout(20):
        assert await ask(shared, 1) == [2]


async def test_a_full_run_does_not_wait_out_the_delay() -> None:
    session = SumSession()
    shared = batcher(session, INLINE, BatchPolicy(max_rows=2, queue=100, delay=600))
    async with asyncio.timeout(20):
        assert await together(ask(shared, 1), ask(shared, 2)) == [[2], [4]]
        assert await ask(shared, 3, 4) == [6, 8]


async def test_a_delay_does_not_outlast_a_deadline() -> None:
    shared = batcher(SumSession(), INLINE, BatchPolicy(max_rows=64, queue=100, delay=600))
    async with asyncio.timeout(20):
        with pytest.raises(DeadlineExceeded):
            await ask(shared, 1, seconds=0.05)


@pytest.mark.parametrize("limits", [ROOMY, BatchPolicy(max_rows=64, queue=100, delay=600)])
async def test_closing_answers_what_waits_and_takes_nothing_new(limits: BatchPolicy) -> None:
    session = HeldSession()
    shared = batcher(session, IN_THREAD, limits)
    answers = [ask(shared, number) for number in (1, 2)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(shared.close())
    await session.running()
    with pytest.raises(NotReady, match="has been replaced or unloaded") as caught:
        await ask(shared, 3)
    assert caught.value.retry_after
    assert not closing.done()
    session.release.set()
    async with asyncio.timeout(20):
        assert await together(*answers) == [[2], [4]]
        await closing


async def test_closing_does_not_wait_for_an_abandoned_run() -> None:
    session = HeldSession()
    shared = batcher(session, IN_THREAD)
    answer = ask(shared, 1)
    await session.running()
    answer.cancel()
    async with asyncio.timeout(20):
        await shared.close()
    session.release.set()


async def test_a_run_says_how_long_it_takes_and_when_one_last_ended() -> None:
    session, noted = HeldSession(), batcher_metrics()
    shared = batcher(session, IN_THREAD, noted=noted)
    before = shared.last_progress
    answer = ask(shared, 1, 2)
    assert shared.running_for == 0
    await session.running()
    assert shared.running_for > 0
    session.release.set()
    await answer
    assert shared.running_for == 0
    assert shared.last_progress > before
    assert noted.batch_rows.total == 2
    assert noted.run_seconds.total > 0
