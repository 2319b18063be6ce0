"""The local runtime, with a fake service."""

import json
import socket
import subprocess
import sys
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


def processes_in(directory: Path) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cwd"]) if (one.info["cwd"] or "").startswith(str(directory))]


def test_up_starts_every_service_and_returns_the_url_of_the_entry(create_local: Create) -> None:
    stack = create_local("fake")
    url = stack.up()
    assert urlopen(f"{url}/readyz", timeout=5).status == 200
    assert states(stack) == {"backend": "ready", "redis": "ready", "api": "ready"}
    assert url == stack.url() == stack.url("api") != stack.url("backend")


def test_services_get_the_local_addresses_of_each_other(create_local: Create) -> None:
    stack = create_local("fake")
    seen = environment_of(stack.up())
    assert seen["BACKEND"] == stack.url("backend") + "/v2"
    assert seen["BACKENDS"] == f"one={stack.url('backend')},two={stack.grpc('backend')}"
    assert seen["REDIS_URL"] == stack.url("redis") + "/0"
    assert seen["DATABASE_URL"].startswith("sqlite:///")


def test_a_service_does_not_inherit_the_environment_of_the_shell(
    create_local: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SECRET", "of the caller")
    monkeypatch.setenv("PORT", "1")
    stack = create_local("fake", env={"GREETING": "good day", "MODE": "calm"})
    seen = environment_of(stack.up())
    assert (seen["GREETING"], seen["MODE"], seen["SHARED"]) == ("good day", "calm", "from base")
    assert seen["GRPC_PORT"] == stack.grpc().split(":")[1]
    assert not {"SOME_SECRET", "PORT"} & seen.keys()


def test_embedded_valkey_answers_ping(create_local: Create) -> None:
    stack = create_local("fake")
    stack.up()
    host, port = stack.url("redis").removeprefix("redis://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100) == b"+PONG\r\n"


def test_down_leaves_nothing_behind(create_local: Create, tmp_path: Path) -> None:
    stack = create_local("fake")
    stack.up()
    assert len(processes_in(tmp_path)) == 3
    stack.down()
    assert processes_in(tmp_path) == []
    assert not (tmp_path / ".run").exists()
    stack.down()


def test_down_kills_a_service_that_ignores_sigterm(create_local: Create, tmp_path: Path) -> None:
    stack = create_local(env={"MODE": "ignores SIGTERM"})
    stack.up()
    stack.down()
    assert processes_in(tmp_path) == []


def test_another_process_can_stop_a_stack(create_local: Create, compose_dir: Path, tmp_path: Path) -> None:
    create_local(name="alone").up()
    script = (
        "import sys, pathlib; from runtimes import Stack;"
        "stack = Stack.find('alone', compose_dir=pathlib.Path(sys.argv[1]));"
        "print([(one.service, one.state) for one in stack.status()], *stack.logs()); stack.down()"
    )
    root = Path(__file__).parents[3]
    output = subprocess.check_output([sys.executable, "-c", script, str(compose_dir)], cwd=root, text=True, timeout=60)
    assert "[('api', 'ready')]" in output
    assert "api | starting" in output
    assert processes_in(tmp_path) == []


def test_another_process_with_the_same_pid_is_not_signalled(create_local: Create, tmp_path: Path) -> None:
    stack = create_local(name="alone")
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


def test_replicas_share_the_requests_of_those_who_call_the_service_by_its_name(create_local: Create) -> None:
    stack = create_local("fake", replicas={"backend": 2})
    named = environment_of(stack.up())["BACKEND"]
    assert set(states(stack)) == {"backend-1", "backend-2", "backend-balancer", "redis", "api"}
    own_ports = {url.rsplit(":", 1)[1] for url in stack.replicas("backend")}
    assert {environment_of(named)["HTTP_PORT"] for _ in range(4)} == own_ports
    stack.kill("backend-1")
    assert {environment_of(named)["HTTP_PORT"] for _ in range(4)} == {stack.url("backend-2").rsplit(":", 1)[1]}


def test_another_grpc_port_is_taken_unless_it_was_chosen(create_local: Create) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stack = create_local("fake", port=port - 1)
        stack.up()
        assert stack.grpc() != f"127.0.0.1:{port}"
        assert stack.url().endswith(f":{port - 1}")
        stack.down()
        with pytest.raises(StackError, match=f"port {port} is in use by process"):
            create_local("fake", port=port - 1, grpc_port=port).up()


def test_an_entry_that_is_open_to_others_says_so(create_local: Create, capsys: pytest.CaptureFixture[str]) -> None:
    stack = create_local(bind="0.0.0.0")
    assert environment_of(stack.up())["HOST"] == "0.0.0.0"
    assert stack.url().startswith("http://127.0.0.1:")
    assert "listens on 0.0.0.0; whoever reaches this machine can use it" in capsys.readouterr().err
