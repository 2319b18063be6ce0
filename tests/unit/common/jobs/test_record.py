"""A job's state changes only as the table of moves allows; its document shows what a client needs."""

from __future__ import annotations

import itertools

import pytest

from common.errors import InvalidInput, NotReady
from common.jobs.record import MOVES, JobFinished, JobOutcome, JobRecord, JobState
from common.request.deadline import Deadline

FINAL = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)
NO_OUTCOME = JobOutcome()


def record(state: JobState = JobState.QUEUED, outcome: JobOutcome = NO_OUTCOME) -> JobRecord:
    return JobRecord("a-job", Deadline.after(10), state, outcome=outcome)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(JobState, JobState)))
def test_a_job_moves_as_the_table_allows_and_never_out_of_a_final_state(before: JobState, after: JobState) -> None:
    if after in MOVES[before]:
        moved = record(before).moved(after, 7.0, NO_OUTCOME)
        assert (moved.state, moved.finished_at) == (after, 7.0 if after in FINAL else None)
    elif before in FINAL:
        with pytest.raises(JobFinished, match=f"has {before} already"):
            record(before).moved(after, 7.0, NO_OUTCOME)
    else:
        with pytest.raises(ValueError, match=f"cannot become {after}"):
            record(before).moved(after, 7.0, NO_OUTCOME)


def test_every_job_can_reach_each_final_state() -> None:
    reached = {JobState.QUEUED}
    for _ in JobState:
        reached |= {after for before in reached for after in MOVES[before]}
    assert reached == set(JobState)
    assert {state for state in JobState if record(state).finished} == set(FINAL)


def test_an_unfinished_job_shows_only_its_state() -> None:
    assert record(JobState.RUNNING).document() == {"id": "a-job", "status": "running"}


def test_a_succeeded_job_shows_its_result_and_where_the_time_went() -> None:
    outcome = JobOutcome({"label": "cat"}, model="m", stages={"infer": 1.5})
    document = record(JobState.SUCCEEDED, outcome).document()
    assert document == {"id": "a-job", "status": "succeeded", "result": {"label": "cat"}, "stages": {"infer": 1.5}}
    assert record(JobState.SUCCEEDED, outcome).result() == {"label": "cat"}


def test_a_failed_job_shows_its_error_and_raises_it_in_place_of_a_result() -> None:
    failed = record(JobState.FAILED, JobOutcome(error=InvalidInput.at("body", "expected a picture")))
    error = {"title": "Invalid input", "status": 400, "detail": "body: expected a picture"}
    assert failed.document() == {"id": "a-job", "status": "failed", "error": error}
    with pytest.raises(InvalidInput, match="expected a picture"):
        failed.result()


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.CANCELLED])
def test_there_is_no_result_before_success(state: JobState) -> None:
    with pytest.raises(NotReady, match=state.value):
        record(state).result()
