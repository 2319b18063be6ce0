"""`python -m common.serve`: a process that says in one line why it cannot start, and that ends well."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from common import serve
from common.settings import ServiceSettings
from tests.unit.common.inference import tiny_models as tiny
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import wait_until
from tests.unit.common.ports import free_port
from tests.unit.common.protocol.request_bodies import body, tensor

ROLE = "common.roles.predictor"
WITHOUT_MODELS = "tests.unit.common.roles.example_roles"
REPOSITORY = Path(__file__).parents[3]


def start(*arguments: str, before: str = "true", **env: str) -> subprocess.Popen[str]:
    """A process of a role; `before` is a shell command that runs in it first."""
    return subprocess.Popen(
        ["sh", "-c", f'{before} && exec "$@"', "sh", sys.executable, "-W", "error", "-m", "common.serve", *arguments],
        env={**os.environ, "GRPC_PORT": "0", **env}, cwd=REPOSITORY, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def error_of(*arguments: str, **env: str) -> str:
    """The one line on stderr of a process that cannot start."""
    out, error = start(*arguments, **env).communicate(timeout=60)
    assert not out
    (line,) = error.splitlines()
    return line


def test_every_wrong_setting_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PORT", "eighty")
    monkeypatch.setenv("FAULTS", "perhaps")
    with pytest.raises(SystemExit) as refused:
        serve.read_settings(serve.load_role(ROLE))
    line = str(refused.value)
    assert line.startswith("wrong environment variables: HTTP_PORT: Input should be a valid integer")
    assert "FAULTS: Input should be a valid boolean" in line


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "patterns.nowhere.api",
            "cannot import the role 'patterns.nowhere.api': No module named 'patterns.nowhere'; "
            "expected a module such as common.roles.predictor",
        ),
        ("json", "'json' is not a role: the module has no Settings and no create_process"),
    ],
)
def test_a_module_that_is_no_role_is_refused(name: str, reason: str) -> None:
    with pytest.raises(SystemExit) as refused:
        serve.load_role(name)
    assert refused.value.code == reason


def test_a_taken_port_is_named_with_its_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = error_of(ROLE, HTTP_PORT=str(port))
    assert line == f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another HTTP_PORT"


def test_a_taken_grpc_port_ends_the_process_with_its_reason(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(ROLE, HTTP_PORT="0", GRPC_PORT=str(taken.getsockname()[1]), MODEL_REPOSITORY=str(tmp_path))
        out, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert any("choose another GRPC_PORT" in json.loads(line)["event"] for line in out.splitlines())


class Served:
    """A running predictor process."""

    def __init__(self, process: subprocess.Popen[str], client: httpx.Client) -> None:
        self.process, self.client = process, client

    def end(self) -> list[dict[str, Any]]:
        """Its lines once it has ended well."""
        out, error = self.process.communicate(timeout=60)
        assert (self.process.returncode, error) == (0, "")
        return [json.loads(line) for line in out.splitlines()]


@contextmanager
def predictor(root: Path, **env: str) -> Iterator[Served]:
    tiny.write(root, tiny.total())
    port = free_port()
    process = start(ROLE, HTTP_PORT=str(port), MODEL="tiny", MODEL_REPOSITORY=str(root), **env)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            wait_until(lambda: process.poll() is not None or _ready(client), "readiness")
            yield Served(process, client)
    finally:
        process.kill()
        process.communicate()


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_stopped_process_finishes_accepted_requests_and_exits_with_0(tmp_path: Path) -> None:
    row = {"content": body(tensor("FP32", [1, 2], [1, 2])), "headers": {"Content-Type": "application/json"}}
    answers: list[httpx.Response] = []
    with predictor(tmp_path, FAULTS="true", LOG_LEVEL="info") as served:
        served.client.post("/faults", json={"latency_seconds": 0.5})

        def ask() -> None:
            answers.append(served.client.post("/v2/models/tiny/infer", **row))  # type: ignore[arg-type]

        asking = threading.Thread(target=ask)
        asking.start()
        wait_until(lambda: "in_progress 2.0" in served.client.get("/metrics").text, "the request")
        served.process.send_signal(signal.SIGTERM)
        asking.join()
        events = [line["event"] for line in served.end()]
    assert [answer.json()["outputs"][0]["data"] for answer in answers] == [[3.0]]
    assert events.index("model ready") < events.index("draining") < events.index("stopped") == len(events) - 1


def test_silent_connections_beyond_the_descriptors_leave_livez_answering() -> None:
    port = free_port()
    process = start(WITHOUT_MODELS, before="ulimit -n 256", HTTP_PORT=str(port), ACCESS_LOG="false")
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client, ExitStack() as silent:
            wait_until(lambda: process.poll() is not None or _ready(client), "readiness")
            for _ in range(400):
                silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            for _ in range(5):
                assert httpx.get(f"http://127.0.0.1:{port}/livez", timeout=1).status_code == 200
            before, seconds = _processor_seconds(client), 0.5
            time.sleep(seconds)
            assert _processor_seconds(client) - before < seconds / 2, "it tries to accept connections all the time"
    finally:
        process.terminate()
        out, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    assert [line for line in map(json.loads, out.splitlines()) if line["level"] in ("warning", "error")] == []


def _processor_seconds(client: httpx.Client) -> float:
    return float(client.get("/metrics").text.partition("\nprocess_cpu_seconds_total ")[2].split()[0])


@pytest.mark.parametrize(
    ("settings", "warns"),
    [
        ({"host": "0.0.0.0"}, True),
        ({"host": "service.example"}, True),
        ({"host": "127.0.0.1"}, False),
        ({"host": "::1"}, False),
        ({"host": "0.0.0.0", "api_keys": f"ada:{'0' * 64}"}, False),
    ],
)
def test_a_service_that_everyone_may_call_says_so(settings: dict[str, str], warns: bool) -> None:
    logged = CapturedLog()
    serve.warn_if_open(ServiceSettings.model_validate(settings), logged.logs)
    assert [line["level"] for line in logged.lines("callers need no API key")] == ["warning"] * warns
