"""What the HTTP routes know of jobs. Jobs in this process implement it; so can jobs behind a broker."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from common.jobs.record import JobInput, JobRecord, Result
from common.observability.metrics import Counter, Metrics
from common.request.context import RequestContext

Work = Callable[[RequestContext, JobInput], Coroutine[Any, Any, Result]]
"""Makes the result of a job out of its input. May raise ServingError, or anything else for a defect."""


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

    async def submit(self, context: RequestContext, job_input: JobInput) -> JobRecord:
        """Starts a job with the id and the trace of this request. Raises Overloaded when there are too many jobs.

        Until `hand_over` the job belongs to the request, which has to discard it when it ends itself.
        """

    async def hand_over(self, job: JobRecord) -> JobRecord:
        """Keeps the job after its request has ended; to be called before the client gets the id."""

    async def discard(self, job: JobRecord) -> None:
        """Ends and removes a job that has not been handed over."""

    async def find(self, job_id: str, tenant: str = "") -> JobRecord:
        """The job as it is now."""

    async def wait(self, job_id: str, seconds: float, tenant: str = "") -> JobRecord:
        """The job as soon as it has finished, or as it is after `seconds`."""

    async def cancel(self, job_id: str, tenant: str = "") -> JobRecord:
        """Cancels a job, which then never succeeds. Raises JobFinished when it has finished already."""
