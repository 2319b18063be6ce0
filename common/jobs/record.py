"""One job as its store keeps it: its state, its deadline, and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from common.errors import DeadlineExceeded, NotReady, ServingError
from common.protocol.json_body import Payload
from common.request.deadline import Deadline

Result = dict[str, Any]
"""The result of a job: a JSON object."""


class JobState(StrEnum):
    """The states of a job, as `GET /jobs/{id}` shows them."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


_OPEN = frozenset({JobState.CANCELLED, JobState.EXPIRED})
MOVES: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: _OPEN | {JobState.RUNNING},
    JobState.RUNNING: _OPEN | {JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED},
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.EXPIRED: frozenset(),
}
"""The states that may follow each state. A state that none may follow is final."""


class JobExpired(ServingError):
    """The job finished, and the time for which its result is kept is over."""

    status, grpc_code, title = 410, "NOT_FOUND", "Expired"


class JobFinished(ServingError):
    """The job is in a final state, so its state can no longer change."""

    status, grpc_code, title = 409, "FAILED_PRECONDITION", "Already finished"


class JobUnfinished(ServingError):
    """The job is not in a final state, which what was asked of it needs."""

    status, grpc_code, title = 409, "FAILED_PRECONDITION", "Not finished"


class KeyReused(ServingError):
    """The idempotency key has been used for another request."""

    status, grpc_code, title = 422, "INVALID_ARGUMENT", "Idempotency key reused"


class JobInput(msgspec.Struct, frozen=True):
    """What a job works on: the request's body, and the values of its parameters by name."""

    body: Payload
    parameters: Mapping[str, str] = {}


class JobOutcome(msgspec.Struct, frozen=True):
    """How a job ended: its result when it succeeded, its error when it failed; the model, and each stage in ms."""

    result: Result | None = None
    error: ServingError | None = None
    model: str = ""
    stages: Mapping[str, float] = {}


class JobRecord(msgspec.Struct, frozen=True):
    """What is known of a job. A record does not change: its store replaces it by the one that `moved` gives.

    `tenant` is the name of the API key that submitted it; no other key sees it.
    `handed_over`: the client has been given the id, so the job no longer depends on the request that submitted it.
    `finished_at` is when it reached a final state, in seconds on its store's clock.
    """

    id: str
    deadline: Deadline
    state: JobState = JobState.QUEUED
    handed_over: bool = False
    finished_at: float | None = None
    outcome: JobOutcome = JobOutcome()
    tenant: str = ""

    @property
    def finished(self) -> bool:
        """Whether the job is in a final state."""
        return not MOVES[self.state]

    def moved(self, state: JobState, now: float, outcome: JobOutcome) -> JobRecord:
        """The record after a change of state at `now`. Raises JobFinished in a final state, ValueError for no move."""
        if self.finished:
            raise JobFinished(f"job {self.id} has {self.state} already, so it cannot become {state}")
        if state not in MOVES[self.state]:
            raise ValueError(f"a job that is {self.state} cannot become {state}, only {sorted(MOVES[self.state])}")
        finished_at = None if MOVES[state] else now
        return msgspec.structs.replace(self, state=state, finished_at=finished_at, outcome=outcome)

    def result(self) -> Result:
        """The result of a job that has succeeded.

        Raises its error when it failed, DeadlineExceeded when it has expired, NotReady in every other state.
        """
        if self.outcome.error is not None:
            raise self.outcome.error
        if self.state is JobState.EXPIRED:
            raise DeadlineExceeded("the deadline passed before the work was done")
        if self.outcome.result is None:
            raise NotReady(f"there is no result, since the work is {self.state}; send the request again", retry_after=1)
        return self.outcome.result

    def summary(self) -> dict[str, Any]:
        """The job as `GET /jobs` lists it."""
        return {"id": self.id, "status": self.state.value}

    def document(self) -> dict[str, Any]:
        """The job as `GET /jobs/{id}` shows it."""
        document = self.summary()
        if self.state is JobState.SUCCEEDED:
            document |= {"result": self.outcome.result, "stages": self.outcome.stages}
        elif (error := self.outcome.error) is not None:
            document["error"] = {"title": error.title, "status": error.status, "detail": error.detail}
        return document
