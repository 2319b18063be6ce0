"""Errors for unknown names and missing engines say what to use instead."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runtimes import Stack, StackError

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
    with pytest.raises(StackError, match=r"unknown setting .*'GREETINGS'; expected one of: GREETING, GRPC_PORT"):
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


def test_missing_nginx_is_an_error(create_local: Create, compose_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "services: {balancer: {image: 'nginx:1.26', ports: ['127.0.0.1:${PORT}:8000']}}"
    (compose_dir / "balanced.yaml").write_text(text)
    monkeypatch.setattr("shutil.which", lambda *names, **options: None)
    with pytest.raises(StackError, match="balancer: nginx is not installed on this machine; use RUNTIME=compose"):
        create_local("balanced").up()
