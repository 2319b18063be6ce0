"""Workers and jobs are started as servers are: with health and metrics, a drain, and an exit code that tells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.unit.common.polling import wait_until
from tests.unit.common.ports import free_port

ROOT = Path(__file__).parents[4]
ROLE = "tests.unit.common.roles.example_roles"


@contextmanager
def process(work: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    port = free_port()
    given = {**os.environ, "WORK": work, "HTTP_PORT": str(port), "GRPC_PORT": "0", **env}
    command = [sys.executable, "-W", "error", "-m", "common.serve", ROLE]
    started = subprocess.Popen(command, env=given, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield started, f"http://127.0.0.1:{port}"
    finally:
        started.kill()
        started.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]]]:
    """The exit code and the log's lines."""
    out, error = process.communicate(timeout=30)
    assert error == ""
    return process.returncode, [json.loads(line) for line in out.splitlines()]


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_worker_shows_health_and_metrics_and_stops_its_work_before_it_ends() -> None:
    with process("until told") as (worker, url):
        wait_until(lambda: ready(url), "readiness")
        assert "serving_requests_in_progress" in httpx.get(f"{url}/metrics").text
        worker.send_signal(signal.SIGTERM)
        code, lines = ended(worker)
    assert code == 0
    assert [line["event"] for line in lines] == ["work began", "work ended", "draining", "stopped"]


def test_the_exit_code_tells_how_the_work_ended() -> None:
    expected = {
        "once": (0, "work ended"),
        "fails": (3, "work began"),
        "raises": (1, "the work failed"),
        "cancelled": (1, "the work was cancelled"),
        "stopped early": (1, "draining"),
        "ends early": (1, "the work ended although no stop was requested"),
    }
    with ExitStack() as running:  # all at once: each takes most of a second to start
        jobs = {work: running.enter_context(process(work))[0] for work in expected}
        for work, (expected_code, event) in expected.items():
            code, lines = ended(jobs[work])
            assert (work, code) == (work, expected_code)
            assert event in [line["event"] for line in lines]


def test_work_that_does_not_stop_in_time_is_cancelled_and_the_exit_code_tells() -> None:
    with process("never stops", DRAIN_TIMEOUT_SECONDS="0.2") as (worker, url):
        wait_until(lambda: ready(url), "readiness")
        worker.send_signal(signal.SIGTERM)
        code, lines = ended(worker)
    assert code == 1
    assert "the work did not stop in time" in [line["event"] for line in lines]
