"""Errors for unknown names and missing engines say what to use instead."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runtimes import Stack, StackError, balancers, composefile, nginx
from runtimes.__main__ import advice, app
from runtimes.base import COMPOSE_DIRECTORY, ServiceStatus, origin

Create = Callable[..., Stack]


@pytest.mark.parametrize(
    ("pattern", "options", "message"),
    [
        ("nope", {}, "unknown pattern 'nope'; expected one of: alone, fake"),
        ("alone", {"variant": "nope"}, "unknown variant of alone 'nope'; expected one of: scaled"),
        ("fake", {"runtime": "nope"}, "unknown runtime 'nope'; expected one of: auto, compose, kubernetes, local"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_names(
    create_local: Create, pattern: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(StackError) as error:
        create_local(pattern, **options)
    assert str(error.value) == message


def test_a_setting_that_no_service_takes_is_refused(create_local: Create) -> None:
    expected = "expected one of: API_KEYS_FILE, BIND, GREETING, GRPC_PORT"
    with pytest.raises(StackError, match=rf"unknown setting .*'GREETINGS'; {expected}"):
        create_local("fake", env={"GREETINGS": "hello"}).up()


def test_without_an_engine_auto_is_local(create_local: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert create_local(runtime="auto").runtime == "local"
    with pytest.raises(StackError, match="RUNTIME=compose is not available: docker is not installed"):
        create_local(runtime="compose")


def test_an_image_without_a_local_substitute_is_refused(create_local: Create, compose_dir: Path) -> None:
    text = "services: {api: {image: 'rabbitmq:4', ports: ['127.0.0.1:${PORT}:8000']}}"
    (compose_dir / "queue.yaml").write_text(text)
    with pytest.raises(
        StackError, match="the local runtime has no substitute for the image rabbitmq:4; use RUNTIME=compose"
    ):
        create_local("queue").up()


def test_without_nginx_the_balancer_is_our_own() -> None:
    file = composefile.load(COMPOSE_DIRECTORY, "web_single", "replicas", {"PORT": "9100", "GRPC_PORT": "9101"})
    service = file.services["balancer"]
    source = nginx.source(service, file.directory)
    replicas = [{8000: 5001, 8001: 5002}, {8000: 6001, 8001: 6002}]
    words = balancers.instead_of_nginx(service, source, "0.0.0.0", {8000: 9100, 8001: 9101}, {"api": replicas})
    expected = ["--host", "0.0.0.0", "--http", "9100=127.0.0.1:5001,127.0.0.1:6001"]
    assert words[3:] == [*expected, "--tcp", "9101=127.0.0.1:5002,127.0.0.1:6002"]


def test_an_nginx_that_leads_to_no_service_needs_nginx(tmp_path: Path) -> None:
    file = composefile.load(COMPOSE_DIRECTORY, "web_single", "replicas", {})
    source = tmp_path / "nginx.conf"
    source.write_text("http { server { listen 8000; } }")
    with pytest.raises(StackError, match=r"balancer: nginx is not installed .*; use RUNTIME=compose"):
        balancers.instead_of_nginx(file.services["balancer"], source, "127.0.0.1", {8000: 9100}, {"api": []})


def test_a_stack_of_another_checkout_is_named_with_its_folder() -> None:
    assert origin(Path("/own"), Path("/own"), "") == ""
    assert origin(Path("/own"), Path("/other"), "iris") == " of /other (model iris)"


def test_a_stack_is_found_by_the_name_that_it_was_given() -> None:
    missing = CliRunner().invoke(app, ["status", "web_single", "--runtime", "local", "--name", "test-second"])
    assert "start it with: make up PATTERN=web_single STACK=test-second" in str(missing.exception)
    wrong = CliRunner().invoke(app, ["status", "web_single", "--runtime", "local", "--name", "My stack"])
    assert "got 'My stack'" in wrong.output


def test_status_says_what_to_do_about_a_service_that_exited(create_local: Create) -> None:
    stack = create_local("alone", name="second")
    api = ServiceStatus("api", "ready", None, None, None)
    gone = ServiceStatus("db", "exited", None, None, None)
    assert advice(stack, [api]) == ""
    assert "db exited; the reason: make logs PATTERN=alone STACK=second SERVICE=db" in advice(stack, [api, gone])
    assert "make up PATTERN=alone STACK=second" in advice(stack, [api, gone])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--port", "80000"], "expected a port from 0 to 65534, got '80000'"),
        (["--port", "eighty"], "expected a port from 0 to 65534, got 'eighty'"),
        (["--grpc-port", "70000"], "expected a port from 0 to 65535, got '70000'"),
        (["--port", "0", "--bind", "192.0.2.1"], "cannot listen on 192.0.2.1: "),
        (["--port", "0", "--bind", "no address"], "cannot listen on no address: "),
    ],
)
def test_ports_and_addresses_that_nothing_can_listen_on_are_refused(words: list[str], says: str) -> None:
    done = CliRunner().invoke(app, ["up", "web_single", "--runtime", "local", "--name", "test-ports", *words])
    assert done.exit_code != 0
    assert says in " ".join(f"{done.output} {done.exception}".replace("│", "").split())


@pytest.mark.parametrize(
    ("scale", "says"),
    [
        ("predictor", "expected SERVICE=NUMBER"),
        ("predictor=0", "with a number from 1 to 99"),
        ("prep=1 nowhere=2", "unknown service 'nowhere'; expected one of: predictor, prep"),
    ],
)
def test_replicas_of_what_is_no_service_are_refused(scale: str, says: str) -> None:
    done = CliRunner().invoke(app, ["up", "prep_pred", "--runtime", "local", "--port", "0", "--scale", scale])
    assert done.exit_code != 0
    assert says in f"{done.output} {done.exception}"
