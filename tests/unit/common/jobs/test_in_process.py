"""Jobs in this process: each ends in one final state, which is counted; a cancelled one never succeeds."""

from __future__ import annotations

import asyncio

import pytest

from common.errors import InvalidInput, NotFound, Overloaded
from common.jobs.in_process import InProcessJobs
from common.jobs.record import JobFinished, JobInput, JobState, Result
from common.jobs.store import MemoryJobStore
from common.request.context import RequestContext
from common.request.deadline import Deadline
from common.request.trace import continue_trace
from tests.unit.common.observability.captured_log import CapturedLog

PATIENCE = 20.0


class Site:
    """Jobs whose body says what their work does; `hold` keeps those back that wait for it."""

    def __init__(self, limit: int = 10, timeout_seconds: float = 10.0) -> None:
        self.log, self.hold, self.contexts = CapturedLog(), asyncio.Event(), list[RequestContext]()
        self.service = self.log.service()
        self.jobs = InProcessJobs(self.service, MemoryJobStore(limit, 60.0), self.work, timeout_seconds)

    async def work(self, context: RequestContext, job_input: JobInput) -> Result:
        self.contexts.append(context)
        match bytes(job_input.body).strip():
            case b"refuse":
                raise InvalidInput.at("body", "expected a picture")
            case b"defect":
                raise RuntimeError("a defect")
            case b"hold":
                await self.hold.wait()
            case b"stubborn":
                try:
                    await self.hold.wait()
                except asyncio.CancelledError:
                    await asyncio.sleep(0.01)
            case b"cancelled inside":
                raise asyncio.CancelledError
        context.model, context.stages = "m", {"infer": 2.0}
        return {"given": dict(job_input.parameters)}

    async def submit(self, body: bytes = b"", *, hand_over: bool = True) -> str:
        caller = RequestContext("POST", "/x", "id-1", continue_trace(None), Deadline.after(1))
        job = await self.jobs.submit(caller, JobInput(body, {"top": "3"}))
        return (await self.jobs.hand_over(job) if hand_over else job).id

    def count(self, state: str) -> float:
        return self.service.metrics.registry.get_sample_value("serving_jobs_total", {"state": state}) or 0.0


async def test_a_job_runs_to_its_result() -> None:
    site = Site()
    job = await site.jobs.wait(await site.submit(), PATIENCE)
    assert (job.state, job.outcome.result) == (JobState.SUCCEEDED, {"given": {"top": "3"}})
    assert (job.outcome.model, job.outcome.stages) == ("m", {"infer": 2.0})
    assert (site.count("accepted"), site.count("succeeded")) == (1, 1)


async def test_a_job_has_the_id_of_its_request_and_a_deadline_of_its_own() -> None:
    site = Site(timeout_seconds=100)
    await site.jobs.wait(await site.submit(), PATIENCE)
    (context,) = site.contexts
    assert context.request_id == "id-1"
    assert 90 < context.deadline.remaining <= 100


async def test_a_refused_input_fails_the_job_with_the_reason() -> None:
    site = Site()
    job = await site.jobs.wait(await site.submit(b"refuse"), PATIENCE)
    assert job.state is JobState.FAILED
    assert isinstance(job.outcome.error, InvalidInput)
    assert site.count("failed") == 1


async def test_a_defect_fails_the_job_and_is_logged_under_its_request_id() -> None:
    site = Site()
    job = await site.jobs.wait(await site.submit(b"defect"), PATIENCE)
    assert job.document()["error"]["detail"] == "internal error; see the server log, request id id-1"
    (line,) = site.log.lines("job failed unexpectedly")
    assert (line["job"], line["request_id"]) == (job.id, "id-1")
    assert "a defect" in line["exception"]


async def test_a_cancelled_job_is_stopped_and_never_succeeds() -> None:
    site = Site()
    for body in (b"hold", b"stubborn"):
        job_id = await site.submit(body)
        await site.jobs.wait(job_id, 0.0)
        assert (await site.jobs.cancel(job_id)).state is JobState.CANCELLED
        assert (await site.jobs.wait(job_id, PATIENCE)).state is JobState.CANCELLED
        with pytest.raises(JobFinished, match="has cancelled already"):
            await site.jobs.cancel(job_id)
    assert (site.count("accepted"), site.count("cancelled"), site.count("succeeded")) == (2, 2, 0)


async def test_a_job_that_is_cancelled_before_it_starts_does_no_work() -> None:
    site = Site()
    job_id = await site.submit()
    await site.jobs.cancel(job_id)
    assert (await site.jobs.wait(job_id, PATIENCE)).state is JobState.CANCELLED
    assert site.contexts == []


async def test_a_job_whose_work_is_cancelled_from_inside_is_cancelled() -> None:
    site = Site()
    job = await site.jobs.wait(await site.submit(b"cancelled inside"), PATIENCE)
    assert (job.state, site.count("cancelled")) == (JobState.CANCELLED, 1)


async def test_waiting_ends_after_its_seconds_and_leaves_the_job_running() -> None:
    site = Site()
    job_id = await site.submit(b"hold")
    assert (await site.jobs.wait(job_id, 0.01)).state is JobState.RUNNING
    assert (await site.jobs.find(job_id)).state is JobState.RUNNING
    site.hold.set()
    assert (await site.jobs.wait(job_id, PATIENCE)).state is JobState.SUCCEEDED


async def test_a_discarded_job_is_stopped_forgotten_and_not_counted() -> None:
    site = Site(limit=1)
    job_id = await site.submit(b"stubborn", hand_over=False)
    await site.jobs.wait(job_id, 0.0)
    await site.jobs.discard(await site.jobs.find(job_id))
    await site.submit()  # its place is free again
    with pytest.raises(Exception, match="has been deleted"):
        await site.jobs.wait(job_id, PATIENCE)
    assert site.count("cancelled") == 0


async def test_too_many_jobs_are_refused() -> None:
    site = Site(limit=1)
    await site.submit()
    with pytest.raises(Overloaded):
        await site.submit()


async def test_an_unknown_id_is_not_found() -> None:
    site = Site()
    for method in (site.jobs.find("x"), site.jobs.wait("x", 0.0), site.jobs.cancel("x")):
        with pytest.raises(NotFound):
            await method


async def test_the_end_of_the_process_cancels_unfinished_jobs_and_logs_how_many() -> None:
    site = Site()
    async with site.jobs.running():
        finished = await site.submit()
        await site.jobs.wait(finished, PATIENCE)
        unfinished = [await site.submit(b"hold") for _ in range(2)]
        await site.jobs.wait(unfinished[-1], 0.0)
    assert [(await site.jobs.find(job_id)).state for job_id in unfinished] == [JobState.CANCELLED] * 2
    assert (await site.jobs.find(finished)).state is JobState.SUCCEEDED
    (line,) = site.log.lines("unfinished jobs cancelled at shutdown")
    assert line["jobs"] == 2


async def test_no_job_is_accepted_while_the_process_drains() -> None:
    site = Site()
    assert site.jobs.accepting
    site.service.health.draining = True
    assert not site.jobs.accepting


async def test_the_body_of_a_job_counts_as_held_from_the_hand_over_to_its_end() -> None:
    site = Site()
    capacity = site.service.capacity
    caller = RequestContext("POST", "/x", "id-1", continue_trace(None), Deadline.after(1), capacity=capacity)
    job = await site.jobs.submit(caller, JobInput(b"hold".ljust(100_000), {"top": "3"}))
    assert capacity.held == 0  # the connection counts it
    await site.jobs.hand_over(job)
    assert capacity.held == 100_000
    await site.jobs.cancel(job.id)
    await site.jobs.wait(job.id, PATIENCE)
    assert capacity.held == 0


async def test_a_job_for_whose_body_there_is_no_memory_is_refused_at_the_hand_over() -> None:
    site = Site()
    capacity = site.service.capacity
    caller = RequestContext("POST", "/x", "id-1", continue_trace(None), Deadline.after(1), capacity=capacity)
    job = await site.jobs.submit(caller, JobInput(b"hold".ljust(100_000), {"top": "3"}))
    capacity.hold(site.service.settings.max_buffered_bytes)
    with pytest.raises(Overloaded):
        await site.jobs.hand_over(job)
    await site.jobs.discard(job)
