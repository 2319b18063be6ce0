"""Jobs that run in this process: their number is bounded, and they end with the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from common.errors import InternalError, NotFound, ServingError
from common.jobs.interface import Work, job_counter
from common.jobs.record import JobExpired, JobFinished, JobInput, JobOutcome, JobRecord, JobState
from common.jobs.store import JobStore, unknown_job
from common.request.context import RequestContext
from common.request.deadline import Deadline
from common.service import Service


class InProcessJobs:
    """Runs each job as a task of the event loop. `timeout_seconds` is the deadline of a job, counted from `submit`."""

    def __init__(self, service: Service, store: JobStore, work: Work, timeout_seconds: float) -> None:
        self._store, self._work, self._timeout_seconds = store, work, timeout_seconds
        self._health, self._log = service.health, service.logs.log
        self._jobs = job_counter(service.metrics)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def accepting(self) -> bool:
        return not self._health.draining

    async def submit(self, context: RequestContext, job_input: JobInput) -> JobRecord:
        job = await self._store.create(Deadline.after(self._timeout_seconds), context.tenant)
        own_context = RequestContext(context.method, context.path, context.request_id, context.trace, job.deadline)
        task = asyncio.create_task(self._run(job.id, own_context, job_input))
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id))
        return job

    async def hand_over(self, job: JobRecord) -> JobRecord:
        job = await self._store.hand_over(job.id)
        self._jobs.labelled("accepted").inc()
        return job

    async def discard(self, job: JobRecord) -> None:
        await self._store.remove(job.id)
        self._stop(job.id)

    async def find(self, job_id: str, tenant: str = "") -> JobRecord:
        job = await self._store.get(job_id)
        if job.tenant != tenant:
            raise unknown_job()
        return job

    async def wait(self, job_id: str, seconds: float, tenant: str = "") -> JobRecord:
        await self.find(job_id, tenant)
        task = self._tasks.get(job_id)
        if task is not None:
            await asyncio.wait([task], timeout=max(seconds, 0.0))
        return await self._store.get(job_id)

    async def cancel(self, job_id: str, tenant: str = "") -> JobRecord:
        await self.find(job_id, tenant)
        job = await self._finish(job_id, JobState.CANCELLED, JobOutcome())
        self._stop(job_id)
        return job

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Cancels at its end the jobs that have not finished, since nobody could fetch their results any more."""
        yield
        unfinished = [task for task in self._tasks.values() if task.cancel()]
        await asyncio.gather(*unfinished, return_exceptions=True)
        if unfinished:
            self._log.warning("unfinished jobs cancelled at shutdown", jobs=len(unfinished))

    async def _run(self, job_id: str, context: RequestContext, job_input: JobInput) -> None:
        await self._store.move(job_id, JobState.RUNNING, JobOutcome())
        work = self._work(context, job_input)
        del job_input  # the work alone decides how long the body stays in memory
        state, result, error = JobState.CANCELLED, None, None
        try:
            result = await work
            state = JobState.SUCCEEDED
        except ServingError as raised:
            state, error = JobState.FAILED, raised.with_traceback(None)  # its frames would keep the body
            if context.deadline.expired:
                state, error = JobState.EXPIRED, None
        except Exception:
            self._log.exception("job failed unexpectedly", job=job_id, request_id=context.request_id)
            state, error = JobState.FAILED, InternalError.of(context.request_id)
        finally:
            with suppress(NotFound, JobExpired, JobFinished):  # it has been discarded or cancelled in the meantime
                await self._finish(job_id, state, JobOutcome(result, error, context.model, context.stages))

    async def _finish(self, job_id: str, state: JobState, outcome: JobOutcome) -> JobRecord:
        job = await self._store.move(job_id, state, outcome)
        if job.handed_over:
            self._jobs.labelled(state.value).inc()
        return job

    def _stop(self, job_id: str) -> None:
        task = self._tasks.get(job_id)
        if task is not None:
            task.cancel()
