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
        ("fake", {"variant": "nope"}, "unknown variant of fake 'nope'; known: scaled"),
        ("fake", {"runtime": "nope"}, "unknown runtime 'nope'; known: auto, compose, local"),
        ("fake", {"runtime": "kubernetes"}, "runtime 'kubernetes' is not here yet; use local or compose"),
    ],
)
def test_a_wrong_name_is_told_with_the_right_ones(
    create: Create, pattern: str, options: dict[str, str], told: str
) -> None:
    with pytest.raises(StackError) as error:
        create(pattern, **options)
    assert str(error.value) == told


def test_a_setting_that_no_service_takes_is_refused(create: Create) -> None:
    with pytest.raises(StackError, match=r"unknown setting .*'GREETINGS'; known: GREETING, GRPC_PORT, MODE, PORT"):
        create("fake", env={"GREETINGS": "hello"}).up()


def test_a_service_that_is_not_there_is_told_with_those_that_are(create: Create) -> None:
    stack = create()
    stack.up()
    with pytest.raises(StackError, match="unknown service 'nope'; known: api"):
        stack.kill("nope")


def test_what_is_not_up_says_how_to_start_it(create: Create) -> None:
    with pytest.raises(StackError, match="alone is not up; start it: make up PATTERN=alone"):
        create().url()


def test_without_an_engine_auto_is_local_and_compose_says_why(create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert create(runtime="auto").runtime == "local"
    with pytest.raises(StackError, match="runtime compose: docker is not installed; run with RUNTIME=local"):
        create(runtime="compose")


def test_an_image_that_nothing_stands_in_for_is_told(create: Create, compose_dir: Path) -> None:
    text = "services: {api: {image: 'rabbitmq:4', ports: ['127.0.0.1:${PORT}:8000']}}"
    (compose_dir / "queue.yaml").write_text(text)
    with pytest.raises(StackError, match="nothing stands in for the image rabbitmq:4 in the local runtime"):
        create("queue").up()


def test_nginx_missing_on_this_machine_is_told(
    create: Create, compose_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "services: {balancer: {image: 'nginx:1.26', ports: ['127.0.0.1:${PORT}:8000']}}"
    (compose_dir / "balanced.yaml").write_text(text)
    monkeypatch.setattr("shutil.which", lambda *names, **options: None)
    with pytest.raises(StackError, match="balancer: nginx is not installed on this machine; run with RUNTIME=compose"):
        create("balanced").up()
