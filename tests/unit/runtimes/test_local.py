"""The local runtime, on processes of a fake service."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from runtimes import Stack, StackError

Create = Callable[..., Stack]


def environment_of(url: str) -> dict[str, str]:
    with urlopen(url, timeout=5) as answer:
        found: dict[str, str] = json.load(answer)
    return found


def states(stack: Stack) -> dict[str, str]:
    return {one.service: one.state for one in stack.status()}


def until(holds: Callable[[], bool], timeout_seconds: float = 10) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


def processes_in(directory: Path) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cwd"]) if (one.info["cwd"] or "").startswith(str(directory))]


def test_up_starts_every_service_and_gives_the_entry(create: Create) -> None:
    stack = create("fake")
    url = stack.up()
    assert urlopen(f"{url}/readyz", timeout=5).status == 200
    assert states(stack) == {"backend": "ready", "redis": "ready", "api": "ready"}
    assert url == stack.url() == stack.url("api") != stack.url("backend")


def test_services_find_each_other_under_local_addresses(create: Create) -> None:
    stack = create("fake")
    seen = environment_of(stack.up())
    assert seen["BACKEND"] == stack.url("backend") + "/v2"
    assert seen["BACKENDS"] == f"one={stack.url('backend')},two={stack.grpc('backend')}"
    assert seen["REDIS_URL"] == stack.url("redis") + "/0"
    assert seen["DATABASE_URL"].startswith("sqlite:///")


def test_a_service_gets_its_settings_and_nothing_of_the_shell(create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "of the caller")
    monkeypatch.setenv("PORT", "1")
    stack = create("fake", env={"GREETING": "good day", "MODE": "calm"})
    seen = environment_of(stack.up())
    assert (seen["GREETING"], seen["MODE"], seen["SHARED"]) == ("good day", "calm", "from base")
    assert seen["GRPC_PORT"] == stack.grpc().split(":")[1]
    assert not {"SOME_SECRET", "PORT"} & seen.keys()


def test_embedded_valkey_answers_ping(create: Create) -> None:
    stack = create("fake")
    stack.up()
    host, port = stack.url("redis").removeprefix("redis://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100) == b"+PONG\r\n"


def test_down_leaves_nothing_behind(create: Create, tmp_path: Path) -> None:
    stack = create("fake")
    stack.up()
    assert len(processes_in(tmp_path)) == 3
    stack.down()
    assert processes_in(tmp_path) == []
    assert not (tmp_path / ".run").exists()
    stack.down()


def test_down_ends_a_service_that_does_not_listen_to_sigterm(create: Create, tmp_path: Path) -> None:
    stack = create(env={"MODE": "deaf"})
    stack.up()
    stack.down()
    assert processes_in(tmp_path) == []


def test_another_process_can_look_at_a_stack_and_end_it(create: Create, compose_dir: Path, tmp_path: Path) -> None:
    create("alone").up()
    script = (
        "import sys, pathlib; from runtimes import Stack;"
        "stack = Stack.find('alone', compose_dir=pathlib.Path(sys.argv[1]));"
        "print([(one.service, one.state) for one in stack.status()], *stack.logs()); stack.down()"
    )
    root = Path(__file__).parents[3]
    told = subprocess.check_output([sys.executable, "-c", script, str(compose_dir)], cwd=root, text=True, timeout=60)
    assert "[('api', 'ready')]" in told
    assert "api | about to start" in told
    assert processes_in(tmp_path) == []


def test_a_reused_process_number_is_left_alone(create: Create, tmp_path: Path) -> None:
    stack = create()
    stack.up()
    stack.kill("api")
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        state = tmp_path / ".run" / "alone" / "state.json"
        records = json.loads(state.read_text())
        records[0]["process"]["pid"] = bystander.pid
        state.write_text(json.dumps(records))
        assert states(stack) == {"api": "exited"}
        stack.down()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_service_that_dies_is_told_at_once_with_its_last_lines(create: Create, tmp_path: Path) -> None:
    stack = create("fake", env={"MODE": "dies"})
    before = time.monotonic()
    with pytest.raises(StackError, match=r"(?s)backend exited with code 1.*the model file is missing"):
        stack.up(timeout_seconds=60)
    assert time.monotonic() - before < 30
    assert processes_in(tmp_path) == []


def test_a_service_that_is_never_ready_is_told_with_its_answer(create: Create, tmp_path: Path) -> None:
    stack = create(env={"MODE": "never ready"})
    with pytest.raises(StackError, match=r"api was not ready after 1 s: /readyz answered 503 .*for the model"):
        stack.up(timeout_seconds=1)
    assert processes_in(tmp_path) == []


def test_a_taken_port_is_told_with_its_owner(create: Create) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wanted = rf"port {port} is in use by process {os.getpid()} .*make up PATTERN=alone PORT={port + 10}"
        with pytest.raises(StackError, match=wanted):
            create(port=port).up()


def test_a_killed_service_stays_dead_until_started(create: Create) -> None:
    stack = create("fake")
    url = stack.up()
    stack.kill("api")
    assert states(stack)["api"] == "exited"
    with pytest.raises(OSError, match="refused"):
        urlopen(url, timeout=5)
    stack.start("api")
    assert states(stack)["api"] == "ready"
    assert stack.url() == url


def test_stop_lets_a_service_finish(create: Create) -> None:
    stack = create()
    stack.up()
    stack.stop("api")
    assert states(stack) == {"api": "exited"}
    assert list(stack.logs())[-1] == "api | asked to end"


def test_a_frozen_service_goes_on_when_thawed(create: Create) -> None:
    stack = create()
    url = stack.up()
    stack.freeze("api")
    until(lambda: states(stack) == {"api": "frozen"})
    with pytest.raises(TimeoutError):
        urlopen(url, timeout=0.2)
    stack.thaw("api")
    assert urlopen(url, timeout=5).status == 200


def test_a_frozen_service_can_be_taken_down(create: Create, tmp_path: Path) -> None:
    stack = create()
    stack.up()
    stack.freeze("api")
    stack.down()
    assert processes_in(tmp_path) == []


def test_a_signal_reaches_the_service(create: Create) -> None:
    stack = create()
    stack.up()
    stack.signal("api", signal.SIGUSR1)
    until(lambda: "api | heard USR1" in list(stack.logs("api")))


def test_logs_follow_until_the_stack_is_down(create: Create) -> None:
    stack = create()
    stack.up()
    lines = stack.logs(follow=True)
    assert next(lines).startswith("api | about to start")
    stack.down()
    assert list(lines)[-1] == "api | asked to end"


def test_replicas_are_told_apart(create: Create) -> None:
    stack = create("fake", variant="scaled")
    assert stack.up() == stack.url("backend")
    assert len(set(stack.replicas("api"))) == 2
    stack.kill("api-1")
    assert states(stack) == {"backend": "ready", "redis": "ready", "api-1": "exited", "api-2": "ready"}
    assert stack.replicas("api") == [stack.url("api-2")]


def test_status_tells_memory_and_uptime(create: Create) -> None:
    stack = create()
    stack.up()
    (api,) = stack.status()
    assert api.url == stack.url()
    assert 1e6 < (api.memory_bytes or 0) < 1e9
    assert 0 < (api.uptime_seconds or 0) < 60


def test_stacks_run_side_by_side(create: Create) -> None:
    first, second = create(name="first"), create(name="second")
    assert first.up() != second.up()
    first.down()
    assert states(second) == {"api": "ready"}


def test_up_again_replaces_what_is_there(create: Create, tmp_path: Path) -> None:
    stack = create()
    assert stack.up() == stack.up()
    assert len(processes_in(tmp_path)) == 1
