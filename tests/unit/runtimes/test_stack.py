"""The interface of Stack, in every runtime, with a fake service."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from runtimes import Stack, StackError

Create = Callable[..., Stack]


def states(stack: Stack) -> dict[str, str]:
    return {one.service: one.state for one in stack.status()}


def log_lines(stack: Stack, service: str | None = None) -> list[str]:
    """The log lines without the names of the instances."""
    return [line.partition("| ")[2] for line in stack.logs(service)]


def wait_until(condition: Callable[[], bool], timeout_seconds: float = 10) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition was not true within {timeout_seconds:g} s"
        time.sleep(0.02)


def test_a_service_that_exits_is_reported_at_once_with_its_last_log_lines(create: Create) -> None:
    stack = create(env={"MODE": "exits"})
    before = time.monotonic()
    with pytest.raises(StackError, match=r"(?s)api exited with code 1.*the model file is missing"):
        stack.up(timeout_seconds=60)
    assert time.monotonic() - before < 30
    assert not stack.is_up()


def test_a_service_that_is_never_ready_is_reported_with_its_response(create: Create) -> None:
    stack = create(env={"MODE": "never ready"})
    with pytest.raises(StackError, match=r"api was not ready after 4 s: GET /readyz returned 503 .*for the model"):
        stack.up(timeout_seconds=4)
    assert not stack.is_up()


def test_a_port_in_use_is_reported_with_its_process(create_here: Create) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wanted = rf"port {port} is in use by process {os.getpid()} .*make up PATTERN=alone PORT={port + 10}"
        with pytest.raises(StackError, match=wanted):
            create_here(port=port).up()


def test_a_killed_service_is_not_restarted(create: Create) -> None:
    stack = create()
    url = stack.up()
    stack.kill("api")
    assert states(stack) == {"api": "exited"}
    with pytest.raises(OSError, match="refused"):
        urlopen(url, timeout=5)
    stack.start("api")
    assert states(stack) == {"api": "ready"}
    assert stack.url() == url


def test_stop_sends_sigterm(create: Create) -> None:
    stack = create()
    stack.up()
    lines = stack.logs(follow=True)  # the logs of a pod are deleted with it
    next(lines)
    stack.stop("api")
    assert states(stack) == {"api": "exited"}
    assert any(line.endswith("| received SIGTERM") for line in lines)


def test_a_frozen_service_responds_again_when_thawed(create: Create) -> None:
    stack = create()
    stack.up()
    url = stack.url("api")
    stack.freeze("api")
    wait_until(lambda: states(stack) == {"api": "unready" if stack.runtime == "kubernetes" else "frozen"})
    with pytest.raises(TimeoutError):
        urlopen(url, timeout=0.2)
    stack.thaw("api")
    assert urlopen(url, timeout=5).status == 200


def test_a_frozen_service_can_be_stopped(create: Create) -> None:
    stack = create()
    stack.up()
    stack.freeze("api")
    stack.down()
    assert not stack.is_up()


def test_a_signal_reaches_the_service(create: Create) -> None:
    stack = create()
    stack.up()
    stack.signal("api", signal.SIGUSR1)
    wait_until(lambda: "received SIGUSR1" in log_lines(stack, "api"))


def test_logs_follow_until_the_stack_is_stopped(create: Create) -> None:
    stack = create()
    stack.up()
    lines = stack.logs(follow=True)
    assert next(lines).endswith("| starting")
    stack.down()
    assert any(line.endswith("| received SIGTERM") for line in lines)


def test_replicas_have_their_own_names_and_urls(create: Create) -> None:
    stack = create(variant="scaled")
    assert stack.up() == stack.url()
    assert len(set(stack.replicas("backend"))) == 2
    assert all(urlopen(url, timeout=5).status == 200 for url in stack.replicas("backend"))
    stack.kill("backend-1")
    assert states(stack) == {"api": "ready", "backend-1": "exited", "backend-2": "ready"}
    assert stack.replicas("backend") == [stack.url("backend-2")]


def test_a_service_reads_the_keys_of_this_machine_and_sees_when_the_file_is_replaced(
    create_here: Create, tmp_path: Path
) -> None:
    keys = tmp_path / "secrets" / "of-callers"
    keys.parent.mkdir()
    keys.write_text("ada:1")
    stack = create_here(env={"API_KEYS_FILE": str(keys)})
    url = stack.up()
    assert json.loads(urlopen(url, timeout=5).read())["keys"] == "ada:1"
    keys.with_name("new").write_text("ada:2")
    keys.with_name("new").replace(keys)  # as editors do
    assert json.loads(urlopen(url, timeout=5).read())["keys"] == "ada:2"


def test_status_has_memory_and_uptime(create: Create) -> None:
    stack = create()
    stack.up()
    wait_until(lambda: stack.status()[0].memory_bytes is not None, 60)  # metrics-server measures only once in a while
    (api,) = stack.status()
    assert api.url == stack.url("api")
    assert 1e6 < (api.memory_bytes or 0) < 1e9
    assert 0 < (api.uptime_seconds or 0) < 100


def test_stacks_run_side_by_side(create: Create) -> None:
    first, second = create(name=f"unit-first-{os.getpid()}"), create(name=f"unit-second-{os.getpid()}")
    assert first.up() != second.up()
    first.down()
    assert states(second) == {"api": "ready"}


def test_up_again_replaces_the_stack_and_says_which(create: Create, capsys: pytest.CaptureFixture[str]) -> None:
    create(env={"MODEL": "churn"}).up()
    assert "to replace it" not in capsys.readouterr().err
    stack = create()
    assert stack.up() == stack.url()
    assert states(stack) == {"api": "ready"}
    model = "" if stack.runtime == "kubernetes" else " (model churn)"
    assert f"stopping the stack {stack.name}{model}, to replace it" in capsys.readouterr().err


def test_an_unknown_service_is_refused_with_the_known_services(create: Create) -> None:
    stack = create()
    stack.up()
    with pytest.raises(StackError, match="unknown service 'nope'; expected one of: api"):
        stack.kill("nope")


def test_a_stack_that_is_not_running_is_an_error_that_says_how_to_start_it(create: Create) -> None:
    with pytest.raises(StackError, match=r"alone-.* is not running; start it with: make up PATTERN=alone"):
        create().url()


def test_down_does_nothing_if_the_stack_is_not_running(create: Create) -> None:
    create().down()
