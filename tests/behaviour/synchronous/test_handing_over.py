"""A caller says how long it waits: in time it is answered, afterwards 504 or a job, as it prefers (RFC 7240)."""

from __future__ import annotations

import re

import httpx
import pytest

from runtimes.base import Stack
from tests.asking.synchronous import CAT, COFFEE, names, post
from tests.conftest import Start
from tests.support import metric


@pytest.fixture(scope="module")
def stack(start_shared: Start) -> Stack:
    return start_shared("synchronous")


def handed_over(http: httpx.Client, stack: Stack, photo: bytes = CAT) -> str:
    """The path of a job that has just been made."""
    answer = post(http, stack.url(), photo, "?top=3", Prefer="respond-async")
    assert answer.status_code == 202, answer.text
    return str(answer.headers["Location"])


def test_a_request_becomes_a_job_whose_result_is_the_same_answer(http: httpx.Client, stack: Stack) -> None:
    answer = post(http, stack.url(), COFFEE, "?top=3", Prefer="respond-async, wait=0")
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["Location"] == f"/jobs/{job['id']}"
    assert answer.headers["Preference-Applied"] == "respond-async, wait=0"
    assert int(answer.headers["Retry-After"]) >= 1
    assert job["status"] in ("queued", "running")
    found = http.get(f"{stack.url()}/jobs/{job['id']}?wait=10")
    assert "Retry-After" not in found.headers
    assert found.json()["status"] == "succeeded"
    assert found.json()["result"] == post(http, stack.url(), COFFEE, "?top=3").json()
    assert list(found.json()["stages"]) == ["decode", "prepare", "queue", "infer", "postprocess"]


def test_a_result_may_be_fetched_again(http: httpx.Client, stack: Stack) -> None:
    path = handed_over(http, stack)
    first, second = (http.get(f"{stack.url()}{path}?wait=10").json() for _ in range(2))
    assert first == second
    assert first["status"] == "succeeded"


def test_what_is_ready_in_time_is_no_job(http: httpx.Client, stack: Stack) -> None:
    before = metric(stack.url(), "serving_jobs_total", state="accepted")
    answer = post(http, stack.url(), CAT, Prefer="respond-async, wait=10")
    assert names(answer)[0] == "tiger cat"
    assert "Location" not in answer.headers
    assert "decode;dur=" in answer.headers["Server-Timing"]
    assert metric(stack.url(), "serving_jobs_total", state="accepted") == before


def test_a_caller_with_little_time_and_no_wish_for_a_job_gets_504(http: httpx.Client, stack: Stack) -> None:
    for headers in ({"Prefer": "wait=0.0001"}, {"X_Request_Timeout_Seconds": "0.0001"}):
        answer = post(http, stack.url(), CAT, **headers)
        assert answer.status_code == 504
        assert "deadline passed" in answer.json()["detail"]


@pytest.mark.parametrize(
    "prefer",
    ["wait=soon", "wait=-1", "wait=nan", "wait=1e9", "respond-async=yes", "handling=lenient", ",;=,", "wait=9" * 9],
)
def test_a_preference_that_means_nothing_is_ignored(http: httpx.Client, stack: Stack, prefer: str) -> None:
    answer = post(http, stack.url(), CAT, Prefer=prefer)
    assert answer.status_code == 200
    assert "Preference-Applied" not in answer.headers


@pytest.mark.parametrize(
    "prefer", ['wait="10", RESPOND-ASYNC', "respond-async;x=1 , wait = 10; y", "wait=10, wait=0, respond-async"]
)
def test_a_preference_is_read_as_it_may_be_written(http: httpx.Client, stack: Stack, prefer: str) -> None:
    assert post(http, stack.url(), CAT, Prefer=prefer).status_code == 200


def test_a_job_that_never_was_is_404(http: httpx.Client, stack: Stack) -> None:
    real = handed_over(http, stack)
    changed = re.sub(r"\w", lambda found: "0" if found[0] != "0" else "1", real[len("/jobs/") :], count=1)
    for identity in (changed, "nothing", "é-ü", "a-b-c", "%00"):
        for method in ("GET", "DELETE"):
            answer = http.request(method, f"{stack.url()}/jobs/{identity}")
            assert answer.status_code == 404
            assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_job_that_is_over_is_not_cancelled(http: httpx.Client, stack: Stack) -> None:
    path = handed_over(http, stack)
    http.get(f"{stack.url()}{path}?wait=10")
    answer = http.delete(stack.url() + path)
    assert answer.status_code == 409
    assert "succeeded" in answer.json()["detail"]
    assert http.get(stack.url() + path).json()["status"] == "succeeded"


def test_a_job_over_no_picture_fails_with_the_reason(http: httpx.Client, stack: Stack) -> None:
    job = http.get(f"{stack.url()}{handed_over(http, stack, CAT[:5000])}?wait=10").json()
    assert job["status"] == "failed"
    assert job["error"]["status"] == 400
    assert "cut short" in job["error"]["detail"]
    assert "result" not in job


def test_a_wrong_request_is_refused_at_once_where_there_is_time_to_see_it(http: httpx.Client, stack: Stack) -> None:
    assert post(http, stack.url(), CAT[:5000], Prefer="respond-async, wait=10").status_code == 400
    assert post(http, stack.url(), CAT, "?top=0", Prefer="respond-async").status_code == 400


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "long"])
def test_a_wrong_wait_for_a_job_is_refused_by_name(http: httpx.Client, stack: Stack, wait: str) -> None:
    answer = http.get(f"{stack.url()}{handed_over(http, stack)}?wait={wait}")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "query.wait"
