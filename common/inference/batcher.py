"""Micro-batching: requests that arrive in one turn of the event loop share one run of the model.

A run waits for later requests only if BATCH_DELAY_SECONDS is set. It also waits for requests that the server has read
already, for at most three turns of the event loop. A run that would block the event loop for more than about a
millisecond goes to a thread, and so does every run of a model whose time depends on values (run_time.py); the requests
that arrive meanwhile form the next batch. The queue is bounded. A request whose client has disconnected, or whose
deadline has passed, is not run. When a batch fails, each of its requests is run alone, so only the request that caused
it fails.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from time import monotonic, perf_counter, time

from common.errors import DeadlineExceeded, NotReady, Overloaded, ServingError
from common.inference.batch_run import Batch, RunOutcome, run_batch
from common.inference.batching import BatcherMetrics, BatchPolicy, QueuedRequest, RunResult
from common.inference.inference_thread import InferenceThread
from common.inference.session import Session
from common.inference.warm_up import RunCost
from common.protocol.tensors import Array
from common.request.deadline import Deadline

INLINE_SECONDS = 0.001
OVERRUN_SECONDS = 0.02  # of a run on the event loop, which was estimated at up to INLINE_SECONDS
MAX_OVERRUNS = 3  # in a row; one alone may be the machine's fault
MAX_POSTPONEMENTS = 3  # turns of the event loop that a run may wait for requests that have been read already


class Batcher:
    """The queue in front of one session."""

    def __init__(
        self,
        session: Session,
        cost: RunCost,
        policy: BatchPolicy,
        metrics: BatcherMetrics,
        name: str,
        *,
        uniform: bool = False,
        requests_starting: Callable[[], int] | None = None,
        inline_rows: int = sys.maxsize,
    ) -> None:
        """`uniform`: the rows of all requests have the same shape, so shapes are not compared.

        `requests_starting` gives the number of requests that the server has read and not yet begun to handle; a run
        is postponed by up to three turns for them. `python -m bench rent` measures the gain.

        `inline_rows`: the most rows of a run on the event loop; 0 for a model whose run time has no bound.
        """
        self._session, self._cost, self._policy, self._metrics = session, cost, policy, metrics
        self._uniform, self._requests_starting = uniform, requests_starting or (lambda: 0)
        self._quick_rows = min(cost.rows_within(INLINE_SECONDS), inline_rows)
        self._overruns = 0
        self._waiting: deque[QueuedRequest] = deque()
        self._rows_waiting = self._postponements = 0
        self._scheduled = False
        self._delayed: asyncio.TimerHandle | None = None
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._deadline_timer_at = math.inf
        self._closing = False
        self._thread = InferenceThread(name)
        self._running: Batch = []
        self._running_since: float | None = None
        self.last_progress = time()

    def submit(self, inputs: dict[str, Array], rows: int, deadline: Deadline) -> asyncio.Future[RunResult]:
        """Queues a request. `rows` is the first dimension of every input.

        Cancel the future when the result is no longer wanted; then it is not computed. Raises Overloaded when the
        queue is full, NotReady when this version has been replaced or unloaded. The future fails with
        DeadlineExceeded, or with ModelFailed when the model fails on these inputs.
        """
        if self._closing:
            raise NotReady(
                "this version of the model has been replaced or unloaded; send the request again", retry_after=1
            )
        if len(self._waiting) >= self._policy.queue and not self._drop_finished():
            self._metrics.queue_full.inc()
            raise Overloaded(
                f"the queue of the model is full: {self._policy.queue} requests wait already; retry later",
                retry_after=self._cost.of(self._rows_waiting + 1),
            )
        loop = asyncio.get_running_loop()
        result: asyncio.Future[RunResult] = loop.create_future()
        request = QueuedRequest(inputs, rows, deadline, result)
        self._waiting.append(request)
        self._rows_waiting += rows
        if self._running_since is not None or self._policy.delay or rows > self._quick_rows:
            self._watch_deadline(loop, request)
        self._schedule(loop)
        return result

    def slow(self, rows: int) -> bool:
        """Whether a run of this many rows would block the event loop for too long."""
        return rows > self._quick_rows

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return sum(not request.result.done() for request in self._waiting)

    @property
    def running_for(self) -> float:
        """Seconds that the run in the thread has taken so far; 0 when there is none."""
        return perf_counter() - self._running_since if self._running_since is not None else 0.0

    async def close(self) -> None:
        """Accepts no more requests, answers those that wait, ends the thread.

        It does not wait for a run whose clients have all disconnected.
        """
        self._closing = True
        self._run_delayed(asyncio.get_running_loop())
        results = [request.result for request in (*self._running, *self._waiting) if not request.result.done()]
        if results:
            await asyncio.wait(results)
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        self._thread.end()

    def _drop_finished(self) -> bool:
        """Removes requests that are cancelled or late. Returns True if the queue has room again."""
        finished = [request for request in self._waiting if request.result.done()]
        self._metrics.cancelled.inc(sum(request.result.cancelled() for request in finished))
        self._rows_waiting -= sum(request.rows for request in finished)
        self._waiting = deque(request for request in self._waiting if not request.result.done())
        return bool(finished)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        full = self._rows_waiting >= self._policy.max_rows
        if full and self._delayed is not None:
            self._run_delayed(loop)
        elif not self._scheduled:
            self._scheduled = True
            if self._policy.delay and not full:
                self._delayed = loop.call_later(self._policy.delay, self._run_next_batch)
            else:
                loop.call_soon(self._run_next_batch)

    def _run_delayed(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends a delay early, when the batch is full or the batcher closes."""
        if self._delayed is not None:
            self._delayed.cancel()
            self._delayed = None
            loop.call_soon(self._run_next_batch)

    def _run_next_batch(self) -> None:
        """Runs one batch of the waiting requests; schedules itself again while some are left."""
        self._delayed = None
        if self._postpone_for_starting():
            return
        self._postponements, self._scheduled = 0, False
        busy = self._running_since is not None
        batch = self._take(only_quick=busy)
        if batch:
            self._run_batch(batch)
        if self._waiting and (self._running_since is None or batch):
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run_next_batch)

    def _postpone_for_starting(self) -> bool:
        """Schedules this run again in the next turn if requests are starting. Returns True if it did."""
        if (
            self._postponements >= MAX_POSTPONEMENTS
            or self._rows_waiting >= self._policy.max_rows
            or not self._requests_starting()
        ):
            return False
        self._postponements += 1
        asyncio.get_running_loop().call_soon(self._run_next_batch)
        return True

    def _run_batch(self, batch: Batch) -> None:
        """Runs a batch at once, or in the thread when it would block the event loop for too long."""
        rows = sum([request.rows for request in batch])
        if rows <= self._quick_rows:
            self._run_inline(batch)
            return
        loop = asyncio.get_running_loop()
        for request in (*batch, *self._waiting):
            self._watch_deadline(loop, request)
        self._running, self._running_since = batch, perf_counter()
        self._thread.call(partial(self._run_in_thread, loop, batch))

    def _run_inline(self, batch: Batch) -> None:
        """Runs a batch on the event loop. Some runs that outlast their estimate move all later ones to the thread."""
        start, seconds, outcomes = run_batch(self._session, batch)
        if seconds > OVERRUN_SECONDS:
            self._overruns += 1
            if self._overruns >= MAX_OVERRUNS:
                self._quick_rows = 0
        else:
            self._overruns = 0
        self._settle(batch, start, seconds, outcomes)

    def _take(self, only_quick: bool) -> Batch:
        """The next requests that may share a run; drops those that were cancelled, fails those that are too late."""
        batch: Batch = []
        rows, now = 0, monotonic()
        while self._waiting:
            request = self._waiting[0]
            if request.result.done():
                self._metrics.cancelled.inc(request.result.cancelled())
            elif request.deadline.at <= now:
                request.result.set_exception(DeadlineExceeded("the deadline passed while the request was queued"))
            else:
                rows += request.rows
                if only_quick and self.slow(rows):
                    break
                fits = 1 < self._policy.max_rows >= rows  # with 1, not even a request without rows shares a run
                if batch and not (fits and (self._uniform or _same_shape(request, batch[0]))):
                    break
                batch.append(request)
            self._waiting.popleft()
            self._rows_waiting -= request.rows
        return batch

    def _run_in_thread(self, loop: asyncio.AbstractEventLoop, batch: Batch) -> None:
        run = run_batch(self._session, batch)
        with suppress(RuntimeError):  # the loop is closed, so nobody waits for the result
            loop.call_soon_threadsafe(self._finish_thread_run, batch, *run)

    def _watch_deadline(self, loop: asyncio.AbstractEventLoop, request: QueuedRequest) -> None:
        """Sets the timer to this request's deadline if that is the earliest; `_fail_expired` then fails the request."""
        if request.deadline.at < self._deadline_timer_at:
            if self._deadline_timer is not None:
                self._deadline_timer.cancel()
            self._deadline_timer_at = request.deadline.at
            # an empty context: the current one would keep the request's objects alive until the timer fires
            seconds = max(request.deadline.remaining, 0.0)
            self._deadline_timer = loop.call_later(seconds, self._fail_expired, context=Context())

    def _fail_expired(self) -> None:
        self._deadline_timer, self._deadline_timer_at = None, math.inf
        for request in (*self._running, *self._waiting):
            if request.result.done():
                continue
            if request.deadline.expired:
                request.result.set_exception(DeadlineExceeded("the deadline passed before the model had answered"))
            else:
                self._watch_deadline(asyncio.get_running_loop(), request)

    def _finish_thread_run(self, batch: Batch, start: float, seconds: float, outcomes: list[RunOutcome]) -> None:
        self._running, self._running_since = [], None
        self._settle(batch, start, seconds, outcomes)
        if not self._scheduled:
            self._run_next_batch()

    def _settle(self, batch: Batch, start: float, seconds: float, outcomes: list[RunOutcome]) -> None:
        """Counts a run and gives each request its outcome."""
        self.last_progress = time()
        self._metrics.batch_rows.observe(sum([request.rows for request in batch]))
        self._metrics.run_seconds.observe(seconds)
        observe_wait = self._metrics.queue_wait.observe
        for request, outcome in zip(batch, outcomes, strict=True):
            queued = start - request.arrived
            observe_wait(queued)
            if request.result.done():
                continue
            if isinstance(outcome, ServingError):
                request.result.set_exception(outcome)
            else:
                request.result.set_result(RunResult(outcome, queued, seconds))


def _same_shape(one: QueuedRequest, other: QueuedRequest) -> bool:
    """Whether the rows of two requests have the same shape; asked for models with further free dimensions."""
    return all(one.inputs[name].shape[1:] == array.shape[1:] for name, array in other.inputs.items())
