"""A worker: takes jobs off a queue, works on several at a time, and accounts for each of them.

A job is held by a lease, which is renewed while the work goes on. When the worker stops, it takes no more jobs,
finishes those it works on, and gives back what it cannot finish in time. While something that the work needs is away,
it takes none, and then one at a time until the first has succeeded.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple

import msgspec

from common.errors import InternalError, NotReady, Overloaded, ServingError, UpstreamFailed
from common.jobs.queue import Queue
from common.jobs.record import JobOutcome, Result
from common.jobs.redis.records import Attempt, JobMessage, RedisRecords
from common.request.context import RequestContext
from common.request.trace import continue_trace
from common.service import Service

AttemptWork = Callable[[RequestContext, Attempt], Coroutine[Any, Any, Result]]
"""Makes the result of a job. A ServingError is the job's, unless it says that something is away; others are defects."""
AWAY = (NotReady, Overloaded, UpstreamFailed)
_RECEIVE_SECONDS, _SWEEP_SECONDS = 2.0, 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # seconds


class WorkerPolicy(msgspec.Struct, frozen=True):
    """`at_once` jobs are worked on together. A job after a defect waits `retry_seconds` for its next attempt."""

    at_once: int = 32
    lease_seconds: float = 30.0
    retry_seconds: float = 1.0
    drain_seconds: float = 15.0


class _Ended(NamedTuple):
    """An attempt that has ended with an outcome, or that goes back: it counts if it failed with an `error`."""

    attempt: Attempt
    message: JobMessage
    outcome: JobOutcome | None = None
    error: ServingError | None = None
    pause: float = 0.0


class Worker:
    """Works on jobs until it is told to stop. `holder` is a name that no other worker has ever had.

    `count` is called with the state of each job that has ended.
    """

    def __init__(
        self,
        service: Service,
        records: RedisRecords,
        queue: Queue,
        work: AttemptWork,
        holder: str,
        policy: WorkerPolicy,
        count: Callable[[str], None] = lambda state: None,
    ) -> None:
        self._records, self._queue, self._work, self._holder, self._policy = records, queue, work, holder, policy
        self._log, self._count, self._capacity = service.logs.log, count, service.capacity
        self._running: dict[asyncio.Task[None], tuple[Attempt, JobMessage]] = {}
        self._unclaimed: list[JobMessage] = []
        self._ended: list[_Ended] = []
        self._has_ended = asyncio.Event()
        self._allowed, self._pause, self._paused_until = policy.at_once, 0.0, 0.0
        self.away: str | None = None  # why no jobs are taken

    async def run(self, stop: asyncio.Event) -> int:
        """The work of a `ServiceProcess`; gives its exit code."""
        stopped = asyncio.create_task(stop.wait())
        tending = [asyncio.create_task(one()) for one in (self._keep_leases, self._keep_sweeping, self._keep_storing)]
        try:
            while not stop.is_set():
                await self._take(stopped)
            await self._drain()
        finally:
            for task in (*tending, stopped):
                task.cancel()
            await asyncio.gather(*tending, stopped, return_exceptions=True)
            await self._store()
            await self._queue.close(self._messages())
        return 0

    async def _take(self, stopped: asyncio.Task[Any]) -> None:
        """Takes as many jobs as there is room for; waits for room, for messages, and for what is away."""
        if self._pause:
            await asyncio.wait([stopped], timeout=random.uniform(self._pause / 2, self._pause))
        free = self._allowed - len(self._running)
        if free <= 0:
            await asyncio.wait([stopped, *self._running], return_when=asyncio.FIRST_COMPLETED)
        elif not stopped.done():
            messages = self._unclaimed or await self._received(free, stopped)
            if messages and not stopped.done():
                await self._begin(messages, stopped)

    async def _received(self, most: int, stopped: asyncio.Task[Any]) -> list[JobMessage]:
        receiving = asyncio.create_task(self._queue.receive(most, _RECEIVE_SECONDS, self._messages()))
        await asyncio.wait([receiving, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not receiving.done():
            receiving.cancel()  # what was on its way stands in the pending list, and is handed back at the end
            await asyncio.gather(receiving, return_exceptions=True)
            return []
        try:
            return receiving.result()
        except ServingError as error:
            self._note_away(error)
            return []

    async def _begin(self, messages: Sequence[JobMessage], stopped: asyncio.Task[Any]) -> None:
        """Claims the jobs of these messages and starts to work on them.

        One whose worker stopped in an earlier attempt may have been the cause, so it runs alone.
        """
        self._unclaimed = list(messages)  # until the answer is there; the same call may be made again
        claims = await self._safely(self._records.claim(messages, self._holder))
        if claims is None:
            return
        self._unclaimed = []
        begun = [(one.attempt, one.message) for one in claims if one.attempt]
        suspects = [one for one in begun if one[0].alone]
        for attempt, message in begun:
            if not attempt.alone:
                self._start(attempt, message)
        if not suspects:
            return
        for attempt, message in suspects[1:]:
            self._end(_Ended(attempt, message))
        await self._until_idle(stopped)
        if stopped.done():
            self._end(_Ended(*suspects[0]))
            return
        self._start(*suspects[0])
        await self._until_idle(stopped)

    async def _until_idle(self, stopped: asyncio.Task[Any]) -> None:
        """Waits until this worker has finished all its jobs, or is told to stop."""
        while self._running and not stopped.done():
            await asyncio.wait([stopped, *self._running], return_when=asyncio.FIRST_COMPLETED)

    def _start(self, attempt: Attempt, message: JobMessage) -> None:
        task = asyncio.create_task(self._run(attempt, message))
        self._running[task] = (attempt, message)
        task.add_done_callback(self._running.pop)

    async def _run(self, attempt: Attempt, message: JobMessage) -> None:
        """Works on a job, and sees to it that its record says what came of it."""
        trace = continue_trace(attempt.fields.get("traceparent"))
        request_id = attempt.fields.get("request_id", attempt.job)
        path = f"/jobs/{attempt.job}"
        context = RequestContext("POST", path, request_id, trace, attempt.deadline, capacity=self._capacity)
        try:
            context.hold(len(attempt.input))
            result = await self._work(context, attempt)
        except AWAY as error:
            self._note_away(error)
            self._end(_Ended(attempt, message))
        except ServingError as error:
            outcome = JobOutcome(None, error.with_traceback(None), context.model, context.stages)
            self._end(_Ended(attempt, message, outcome))
        except Exception:
            self._log.exception("job failed unexpectedly", job=attempt.job, request_id=request_id)
            pause = self._policy.retry_seconds * 2 ** (attempt.number - 1)
            self._end(_Ended(attempt, message, None, InternalError.of(request_id), pause))
        else:
            self.away, self._pause = None, 0.0
            self._allowed = min(2 * self._allowed, self._policy.at_once)
            self._end(_Ended(attempt, message, JobOutcome(result, None, context.model, context.stages)))
        finally:
            context.release()

    def _end(self, ended: _Ended) -> None:
        self._ended.append(ended)
        self._has_ended.set()

    def _note_away(self, error: ServingError) -> None:
        """Pauses, longer each time; jobs that fail together count once."""
        if self.away is None:
            self._log.warning("takes no jobs", reason=error.detail)
        self.away, self._allowed = error.detail, 1
        now = asyncio.get_running_loop().time()
        if now >= self._paused_until:
            self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            self._paused_until = now + self._pause

    async def _keep_storing(self) -> None:
        """Stores the outcomes of all jobs that have ended meanwhile with one command."""
        while True:
            await self._has_ended.wait()
            self._has_ended.clear()
            if not await self._store():
                self._has_ended.set()
                await asyncio.sleep(_FIRST_PAUSE)

    async def _store(self) -> bool:
        """Whether the records have taken all that has ended. What they may not have taken is sent again."""
        ended, self._ended = self._ended, []
        try:
            await self._finish([(one.attempt, one.outcome) for one in ended if one.outcome])
            for one in ended:
                if one.outcome is None:
                    await self._records.give_back([one.attempt], one.error, one.pause)
        except ServingError as error:
            self._ended = ended + self._ended
            self._note_away(error)
            return False
        return True

    async def _finish(self, outcomes: Sequence[tuple[Attempt, JobOutcome]]) -> None:
        if not outcomes:
            return
        states = await self._records.finish(outcomes)
        for (attempt, _), state in zip(outcomes, states, strict=True):
            if state in ("succeeded", "failed"):
                self._count(state)
            else:
                self._log.warning("outcome dropped: the job was lost meanwhile", job=attempt.job, state=state)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self._policy.lease_seconds / 3)
            held = {attempt.job: task for task, (attempt, _) in self._running.items()}
            attempts = [attempt for attempt, _ in self._running.values()] + [one.attempt for one in self._ended]
            lost = await self._safely(self._records.renew(self._holder, attempts)) if attempts else None
            for job in lost or ():
                self._log.info("job lost, cancelled or expired while it was worked on", job=job)
                if job in held:
                    held[job].cancel()

    async def _keep_sweeping(self) -> None:
        while True:
            await self._safely(self._records.sweep())
            await asyncio.sleep(random.uniform(0.5, 1.5) * _SWEEP_SECONDS)

    async def _drain(self) -> None:
        """Finishes what it works on, within the time for that; the rest goes back, and does not count."""
        if self._running:
            await asyncio.wait(self._running, timeout=self._policy.drain_seconds)
        unfinished = dict(self._running)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        if unfinished:
            self._log.warning("jobs given back at the stop", jobs=len(unfinished))
        for attempt, message in unfinished.values():
            self._end(_Ended(attempt, message))

    async def _safely(self, call: Awaitable[Any]) -> Any:
        """The answer of the records; None if they are away, after which leases and sweeps put right what was missed."""
        try:
            return await call
        except ServingError as error:
            self._note_away(error)
            return None

    def _messages(self) -> set[str]:
        """The ids of the messages of jobs that this worker has begun, and whose end is not stored yet."""
        return {message.id for _, message in self._running.values()} | {one.message.id for one in self._ended}
