"""What the HTTP routes know of jobs. Jobs in this process implement it; so can jobs behind a broker."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol

import msgspec

from common.errors import InvalidInput
from common.jobs.record import JobInput, JobRecord, JobState, JobUnfinished, Result
from common.observability.metrics import Counter, Metrics
from common.request.context import RequestContext

Work = Callable[[RequestContext, JobInput], Coroutine[Any, Any, Result]]
"""Makes the result of a job out of its input. May raise ServingError, or anything else for a defect."""


class Submission(msgspec.Struct, frozen=True):
    """What a caller asks of a job besides its work; times in seconds, None for those of the service.

    Jobs of one `order` run one after the other. A second job of the same `once` is the first one if its `fingerprint`
    is the same.
    """

    once: str = ""
    order: str = ""
    fingerprint: str = ""
    seconds: float | None = None
    ttl_seconds: float | None = None


AS_USUAL = Submission()


class JobPage(NamedTuple):
    """Some of a tenant's jobs, the newest first. `after` is where the next page begins, None at the end."""

    jobs: list[JobRecord]
    after: str | None


def unfinished(job: JobRecord) -> JobUnfinished:
    """The error for what only a job that is over can have."""
    return JobUnfinished(f"job {job.id} is {job.state}; cancel it, or wait until it is over")


def unknown_place(after: str) -> InvalidInput:
    """The error for the beginning of a page that is no job of this caller."""
    return InvalidInput.at("after", f"expected the id of one of your jobs, got {after[:60]!r}")


def job_counter(metrics: Metrics) -> Counter:
    """The metric of jobs, the same wherever their records are."""
    return Counter(
        metrics.registry, "serving_jobs", "Jobs by state: accepted, succeeded, failed or cancelled.", ("state",)
    )


class Jobs(Protocol):
    """Jobs by id. Every method that takes an id raises NotFound for an unknown one, and JobExpired after its TTL.

    `tenant` is the name of the caller's API key: another tenant's job is unknown.
    """

    @property
    def accepting(self) -> bool:
        """Whether a job that is submitted now can finish. False for jobs in a process that is about to end."""

    async def submit(self, context: RequestContext, job_input: JobInput, how: Submission = AS_USUAL) -> JobRecord:
        """Starts a job with the id and the trace of this request. Raises Overloaded when there are too many jobs.

        Raises KeyReused for an idempotency key of another request, InvalidInput for what these jobs do not offer.

        Until `hand_over` the job belongs to the request, which has to discard it when it ends itself.
        """

    async def hand_over(self, job: JobRecord) -> JobRecord:
        """Keeps the job after its request has ended; to be called before the client gets the id.

        Raises Overloaded when there is no memory for its body.
        """

    async def discard(self, job: JobRecord) -> None:
        """Ends and removes a job that has not been handed over."""

    async def find(self, job_id: str, tenant: str = "") -> JobRecord:
        """The job as it is now."""

    async def wait(self, job_id: str, seconds: float, tenant: str = "") -> JobRecord:
        """The job as soon as it has finished, or as it is after `seconds`."""

    async def cancel(self, job_id: str, tenant: str = "") -> JobRecord:
        """Cancels a job, which then never succeeds. Raises JobFinished when it has finished already."""

    async def erase(self, job_id: str, tenant: str = "") -> None:
        """Deletes a job that is over, its input and its result. Raises JobUnfinished for one that is not."""

    async def list(self, tenant: str, state: JobState | None, after: str | None, most: int) -> JobPage:
        """At most so many of a tenant's jobs, of one state if one is given. Raises InvalidInput for unknown `after`."""
