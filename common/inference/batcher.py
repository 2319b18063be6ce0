"""Micro-batching that never waits unless told to.

Requests that arrive in one turn of the event loop share one run of the model; a lone request runs at once. A run that
would hold the loop for more than about a millisecond goes to a thread instead, and whatever has come while it was under
way is the next batch. The queue is bounded; a member that has left or whose deadline has passed is not computed; a
member that makes a shared run fail is found by running each on its own, and the others never notice.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from functools import partial
from time import monotonic, perf_counter, time

import numpy as np

from common.errors import DeadlineExceeded, ModelFailed, NotReady, Overloaded, ServingError
from common.inference.batching import Arrivals, BatcherMetrics, BatchPolicy, QueuedRequest, RunResult, UnknownArrivals
from common.inference.inference_thread import InferenceThread
from common.inference.session import RunCost, Session
from common.protocol.tensors import Array
from common.request.deadline import Deadline

INLINE_SECONDS = 0.001
PUT_OFF = 3  # turns of the loop, each spent on reading requests that will share the run


Batch = list[QueuedRequest]
Outcome = Sequence[Array] | ServingError


class Batcher:
    """The queue in front of one session."""

    def __init__(
        self,
        session: Session,
        cost: RunCost,
        limits: BatchPolicy,
        counts: BatcherMetrics,
        name: str,
        *,
        uniform: bool = False,
        arrivals: Arrivals | None = None,
    ) -> None:
        """`uniform`: every request's rows have the same shape, so it need not be compared.

        `arrivals`, where a server can tell: a request that is alone need not wait its turn, and a run waits for those
        that have been read already.
        """
        self._uniform, self._arrivals = uniform, arrivals or UnknownArrivals()
        self._put_off = 0
        self._quick_rows = cost.rows_within(INLINE_SECONDS)
        self._session, self._cost, self._limits, self._counts = session, cost, limits, counts
        self._waiting: deque[QueuedRequest] = deque()
        self._rows_waiting = 0
        self._scheduled = False
        self._held: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._closing = False
        self._thread = InferenceThread(name)
        self._running: Batch = []
        self._running_since: float | None = None
        self.last_progress = time()

    def submit(self, inputs: dict[str, Array], rows: int, deadline: Deadline) -> asyncio.Future[RunResult]:
        """Queues a request for `inputs`, whose first dimension is `rows`.

        Whoever no longer wants the answer cancels the future, and it is not computed. Raises Overloaded when the queue
        is full; the future fails with DeadlineExceeded, or with ModelFailed when the model fails on these inputs.
        """
        if self._closing:
            raise NotReady("this version of the model has just been replaced; try again", retry_after=1)
        if len(self._waiting) >= self._limits.queue and not self._forget_gone():
            self._counts.full.inc()
            raise Overloaded(
                f"the queue is full ({self._limits.queue} requests wait)",
                retry_after=self._cost.of(self._rows_waiting + 1),
            )
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[RunResult] = loop.create_future()
        member = QueuedRequest(inputs, rows, deadline, answer)
        if not self._waiting and not self._limits.delay and not self.slow(rows) and self._arrivals.alone():
            self._settle([member], self._run([member]))
            return answer
        self._waiting.append(member)
        self._rows_waiting += rows
        if self._running_since is not None or self._limits.delay or self.slow(rows):
            self._watch(loop, member)
        self._wake(loop)
        return answer

    def slow(self, rows: int) -> bool:
        """Whether a run of so many rows would hold the event loop for too long."""
        return rows > self._quick_rows

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return sum(not member.answer.done() for member in self._waiting)

    @property
    def running_for(self) -> float:
        """Seconds that the run under way in the thread has taken so far; 0 when none is."""
        return perf_counter() - self._running_since if self._running_since is not None else 0.0

    async def close(self) -> None:
        """Takes nothing more, answers what waits, ends the thread; nobody waits for a run whose callers have gone."""
        self._closing = True
        self._release(asyncio.get_running_loop())
        answers = [member.answer for member in (*self._running, *self._waiting) if not member.answer.done()]
        if answers:
            await asyncio.wait(answers)
        if self._alarm is not None:
            self._alarm.cancel()
        self._thread.end()

    def _forget_gone(self) -> bool:
        """Whether a place in the queue is free once those who have left, or whose time is up, have given up theirs."""
        gone = [member for member in self._waiting if member.answer.done()]
        self._counts.gone.inc(sum(member.answer.cancelled() for member in gone))
        self._rows_waiting -= sum(member.rows for member in gone)
        self._waiting = deque(member for member in self._waiting if not member.answer.done())
        return bool(gone)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        full = self._rows_waiting >= self._limits.max_rows
        if full and self._held is not None:
            self._release(loop)
        elif not self._scheduled:
            self._scheduled = True
            if self._limits.delay and not full:
                self._held = loop.call_later(self._limits.delay, self._turn)
            else:
                loop.call_soon(self._turn)

    def _release(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs what a delay holds: it is full, or no more will come."""
        if self._held is not None:
            self._held.cancel()
            self._held = None
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Runs one batch of what waits; asks for another turn while something is left."""
        self._held = None
        if self._put_off < PUT_OFF and self._rows_waiting < self._limits.max_rows and self._arrivals.coming():
            self._put_off += 1
            asyncio.get_running_loop().call_soon(self._turn)
            return
        self._put_off, self._scheduled = 0, False
        busy = self._running_since is not None
        batch = self._take(only_quick=busy)
        if batch:
            rows = sum(member.rows for member in batch)
            if self.slow(rows):
                loop = asyncio.get_running_loop()
                for member in (*batch, *self._waiting):
                    self._watch(loop, member)
                self._running, self._running_since = batch, perf_counter()
                self._thread.call(partial(self._run_in_thread, loop, batch))
            else:
                self._settle(batch, self._run(batch))
        if self._waiting and (self._running_since is None or batch):
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _take(self, only_quick: bool) -> Batch:
        """The next members that may share a run, skipping who has left and failing whose time is up."""
        batch: Batch = []
        rows, now = 0, monotonic()
        while self._waiting:
            member = self._waiting[0]
            if member.answer.done():
                self._counts.gone.inc(member.answer.cancelled())
            elif member.deadline.at <= now:
                member.answer.set_exception(DeadlineExceeded("the deadline passed while the request was queued"))
            else:
                rows += member.rows
                if only_quick and self.slow(rows):
                    break
                if batch and (rows > self._limits.max_rows or not (self._uniform or _alike(member, batch[0]))):
                    break
                batch.append(member)
            self._waiting.popleft()
            self._rows_waiting -= member.rows
        return batch

    def _run(self, batch: Batch) -> tuple[float, float, list[Outcome]]:
        """Start, seconds and one outcome for each member; in the loop or in the thread."""
        start = perf_counter()
        if len(batch) == 1:
            outcomes = [self._alone(batch[0])]
        else:
            try:
                outcomes = self._together(batch)
            except Exception:  # one of them spoils it; each on its own tells which
                outcomes = [self._alone(member) for member in batch]
        return start, perf_counter() - start, outcomes

    def _run_in_thread(self, loop: asyncio.AbstractEventLoop, batch: Batch) -> None:
        done = self._run(batch)
        with suppress(RuntimeError):  # the loop has ended meanwhile, and with it all who waited
            loop.call_soon_threadsafe(self._ran, batch, done)

    def _together(self, batch: Batch) -> list[Outcome]:
        inputs = {name: np.concatenate([member.inputs[name] for member in batch]) for name in batch[0].inputs}
        outputs = self._session.run(inputs)
        outcomes: list[Outcome] = []
        at = 0
        for member in batch:
            end = at + member.rows
            outcomes.append([output[at:end] for output in outputs])
            at = end
        return outcomes

    def _alone(self, member: QueuedRequest) -> Outcome:
        try:
            return self._session.run(member.inputs)
        except ServingError as error:
            return error
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes here
            return ModelFailed(f"the model failed on this input: {' '.join(str(error).split())[:300]}")

    def _watch(self, loop: asyncio.AbstractEventLoop, member: QueuedRequest) -> None:
        """Sees to it that a member is answered at its deadline, whether its run is queued or under way by then."""
        if member.deadline.at < self._alarm_at:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_at = member.deadline.at
            # in a context of its own: one request's would live as long as the alarm
            self._alarm = loop.call_later(max(member.deadline.remaining, 0.0), self._expire, context=Context())

    def _expire(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        for member in (*self._running, *self._waiting):
            if member.answer.done():
                continue
            if member.deadline.expired:
                member.answer.set_exception(DeadlineExceeded("the deadline passed before the model had answered"))
            else:
                self._watch(asyncio.get_running_loop(), member)

    def _ran(self, batch: Batch, done: tuple[float, float, list[Outcome]]) -> None:
        self._running, self._running_since = [], None
        self._settle(batch, done)
        if not self._scheduled:
            self._turn()

    def _settle(self, batch: Batch, done: tuple[float, float, list[Outcome]]) -> None:
        start, seconds, outcomes = done
        self.last_progress = time()
        self._counts.batch_rows.observe(sum([member.rows for member in batch]))
        self._counts.run_seconds.observe(seconds)
        waited = self._counts.queue_wait.observe
        for member, outcome in zip(batch, outcomes, strict=True):
            queued = start - member.arrived
            waited(queued)
            if member.answer.done():
                continue
            if isinstance(outcome, ServingError):
                member.answer.set_exception(outcome)
            else:
                member.answer.set_result(RunResult(outcome, queued, seconds))


def _alike(one: QueuedRequest, other: QueuedRequest) -> bool:
    """Whether two requests' rows have the same shape, where the model leaves more than their number free."""
    return all(one.inputs[name].shape[1:] == array.shape[1:] for name, array in other.inputs.items())
