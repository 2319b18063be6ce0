"""Jobs that run in this process: their number is bounded, and they end with the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from common.errors import InternalError, InvalidInput, NotFound, ServingError
from common.jobs.interface import AS_USUAL, JobPage, Submission, Work, job_counter, unfinished, unknown_place
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
        self._bodies: dict[str, tuple[RequestContext, int]] = {}  # the contexts and the sizes of the bodies of jobs

    @property
    def accepting(self) -> bool:
        return not self._health.draining

    async def submit(self, context: RequestContext, job_input: JobInput, how: Submission = AS_USUAL) -> JobRecord:
        for name, given in (("Idempotency-Key", how.once), ("X-Ordering-Key", how.order)):
            if given:
                raise InvalidInput.at(
                    name, "jobs of this service end with its process, so it offers none; set JOBS_URL"
                )
        if how.ttl_seconds is not None:
            raise InvalidInput.at("X-Job-TTL-Seconds", "jobs of this service have one TTL; set JOBS_URL for this")
        job = await self._store.create(Deadline.after(how.seconds or self._timeout_seconds), context.tenant)
        own_context = RequestContext(
            context.method, context.path, context.request_id, context.trace, job.deadline, capacity=context.capacity
        )
        task = asyncio.create_task(self._run(job.id, own_context, job_input))
        self._tasks[job.id] = task
        self._bodies[job.id] = own_context, len(job_input.body)
        task.add_done_callback(lambda _: self._ended(job.id))
        return job

    def _ended(self, job_id: str) -> None:
        context, _ = self._bodies.pop(job_id)
        context.release()
        del self._tasks[job_id]

    async def hand_over(self, job: JobRecord) -> JobRecord:
        if job.id in self._bodies:  # from now on it is the job that holds the body
            context, size = self._bodies[job.id]
            context.hold(size)
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

    async def erase(self, job_id: str, tenant: str = "") -> None:
        job = await self.find(job_id, tenant)
        if not job.finished:
            raise unfinished(job)
        await self._store.remove(job_id)

    async def list(self, tenant: str, state: JobState | None, after: str | None, most: int) -> JobPage:
        own = [one for one in await self._store.all() if one.tenant == tenant]
        if after is not None:
            ids = [one.id for one in own]
            if after not in ids:
                raise unknown_place(after)
            own = own[ids.index(after) + 1 :]
        found = [one for one in own if state in (None, one.state)]
        return JobPage(found[:most], found[most - 1].id if len(found) > most else None)

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
