"""Compose files are read in the same way as `docker compose` reads them."""

from pathlib import Path

import pytest

from common import RELEASE
from runtimes import StackError, composefile
from runtimes.base import COMPOSE_DIRECTORY


def load(directory: Path, text: str, variables: dict[str, str] | None = None) -> composefile.ComposeFile:
    (directory / "case.yaml").write_text(text)
    return composefile.load(directory, "case", None, variables or {})


@pytest.mark.parametrize(
    ("written", "variables", "read"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("$A", {"A": "x"}, "x"),
        ("${A}", {}, ""),
        ("${A:-b}", {"A": ""}, "b"),
        ("${A-b}", {"A": ""}, ""),
        ("${A-b}", {}, "b"),
        ("${A:+b}", {"A": "x"}, "b"),
        ("${A:+b}", {}, ""),
        ("$$A", {"A": "x"}, "$A"),
        ("${A:-x/${B:-y}/z}", {}, "x/y/z"),
        ("${A:-x/${B:-y}/z}", {"B": "b"}, "x/b/z"),
        ("http://${A:-host}:${B:-1}/", {"B": "2"}, "http://host:2/"),
    ],
)
def test_variables_are_interpolated(tmp_path: Path, written: str, variables: dict[str, str], read: str) -> None:
    text = f"services: {{api: {{environment: {{KEY: '{written}'}}}}}}"
    assert load(tmp_path, text, variables).services["api"].environment == {"KEY": read}


def test_a_missing_required_variable_is_an_error(tmp_path: Path) -> None:
    text = "services: {api: {environment: {KEY: '${API_KEY:?a long random word}'}}}"
    with pytest.raises(
        StackError, match="the variable API_KEY is not set, but the compose file requires it: a long random word"
    ):
        load(tmp_path, text)


def test_an_empty_environment_value_is_that_of_the_caller(tmp_path: Path) -> None:
    text = "services: {api: {environment: {GIVEN: , ABSENT: }}}"
    file = load(tmp_path, text, {"GIVEN": "x"})
    assert file.services["api"].environment == {"GIVEN": "x"}
    assert file.variables == {"GIVEN", "ABSENT"}


def test_a_list_of_settings_overrides_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("services: {one: {environment: {A: '1', B: '2'}}}")
    text = "services: {api: {extends: {file: base.yaml, service: one}, environment: [B=3, C=4]}}"
    assert load(tmp_path, text).services["api"].environment == {"A": "1", "B": "3", "C": "4"}


def test_a_variant_resets_and_overrides(tmp_path: Path) -> None:
    (tmp_path / "case.yaml").write_text(
        "services: {api: {ports: ['127.0.0.1:1:8000'], volumes: ['a:/a'], command: [x, y]}}"
    )
    (tmp_path / "case.other.yaml").write_text(
        "services: {api: {ports: !reset [], volumes: !override ['b:/b'], command: [z], deploy: {replicas: 3}}}"
    )
    api = composefile.load(tmp_path, "case", "other", {}).services["api"]
    assert (api.ports, api.volumes, api.command, api.replicas) == ([], ["b:/b"], ["z"], 3)


def test_services_are_in_start_order(tmp_path: Path) -> None:
    text = "services: {a: {depends_on: [b]}, b: {depends_on: {c: {condition: service_healthy}}}, c: {}}"
    assert list(load(tmp_path, text).services) == ["c", "b", "a"]


def test_a_cycle_of_dependencies_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="depends_on has a cycle: a -> b -> a"):
        load(tmp_path, "services: {a: {depends_on: [b]}, b: {depends_on: [a]}}")


@pytest.mark.parametrize(("written", "seconds"), [("10s", 10), ("1m30s", 90), ("500ms", 0.5), ("1h", 3600)])
def test_durations_are_read(written: str, seconds: float) -> None:
    assert composefile.seconds(written) == seconds


def test_the_names_of_the_images_that_are_built_are_known() -> None:
    file = composefile.load(COMPOSE_DIRECTORY, "parallel", "features", {})
    assert file.built_images == [f"serving-patterns/{name}:{RELEASE}" for name in ("api", "parallel-model")]
    assert any(service.image.startswith("redis:") for service in file.services.values())
