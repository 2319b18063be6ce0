"""Wrong names and missing engines are told with what would be right."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runtimes import Stack, StackError

Create = Callable[..., Stack]


@pytest.mark.parametrize(
    ("pattern", "options", "told"),
    [
        ("nope", {}, "unknown pattern 'nope'; known: alone, fake"),
        ("alone", {"variant": "nope"}, "unknown variant of alone 'nope'; known: scaled"),
        ("fake", {"runtime": "nope"}, "unknown runtime 'nope'; known: auto, compose, kubernetes, local"),
    ],
)
def test_a_wrong_name_is_told_with_the_right_ones(
    create_local: Create, pattern: str, options: dict[str, str], told: str
) -> None:
    with pytest.raises(StackError) as error:
        create_local(pattern, **options)
    assert str(error.value) == told


def test_a_setting_that_no_service_takes_is_refused(create_local: Create) -> None:
    with pytest.raises(StackError, match=r"unknown setting .*'GREETINGS'; known: GREETING, GRPC_PORT, MODE, PORT"):
        create_local("fake", env={"GREETINGS": "hello"}).up()


def test_without_an_engine_auto_is_local(create_local: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert create_local(runtime="auto").runtime == "local"
    with pytest.raises(StackError, match="runtime compose: docker is not installed; run with RUNTIME=local"):
        create_local(runtime="compose")


def test_an_image_that_nothing_stands_in_for_is_told(create_local: Create, compose_dir: Path) -> None:
    text = "services: {api: {image: 'rabbitmq:4', ports: ['127.0.0.1:${PORT}:8000']}}"
    (compose_dir / "queue.yaml").write_text(text)
    with pytest.raises(StackError, match="nothing stands in for the image rabbitmq:4 in the local runtime"):
        create_local("queue").up()


def test_nginx_missing_on_this_machine_is_told(
    create_local: Create, compose_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "services: {balancer: {image: 'nginx:1.26', ports: ['127.0.0.1:${PORT}:8000']}}"
    (compose_dir / "balanced.yaml").write_text(text)
    monkeypatch.setattr("shutil.which", lambda *names, **options: None)
    with pytest.raises(StackError, match="balancer: nginx is not installed on this machine; run with RUNTIME=compose"):
        create_local("balanced").up()
