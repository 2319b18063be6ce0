"""Every compose file keeps the house's rules: hardened, labelled, tagged, one entry, settings that exist."""

import importlib
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from common import RELEASE
from runtimes import composefile
from runtimes.base import COMPOSE_DIRECTORY

DOCKERFILE = (COMPOSE_DIRECTORY / "Dockerfile").read_text()
HEALTHCHECKED_TARGETS = {"api", "prep", "model", "vision", "store"}
READ_BY_LIBRARIES = {"OTEL_EXPORTER_OTLP_ENDPOINT"}
FROM_ENVIRONMENT_OF_THE_IMAGE = {"HOST", "HTTP_PORT", "GRPC_PORT"}


@dataclass(frozen=True)
class Case:
    """A pattern, or one of its variants."""

    pattern: str
    variant: str | None

    @cache  # noqa: B019 (a handful of cases, which live as long as the tests)
    def tree(self) -> dict[str, Any]:
        return composefile.merge(composefile.find(COMPOSE_DIRECTORY, self.pattern, self.variant))

    def read(self, variables: dict[str, str]) -> composefile.ComposeFile:
        return composefile.load(COMPOSE_DIRECTORY, self.pattern, self.variant, variables)


def cases() -> list[Case]:
    return [
        Case(pattern, variant)
        for pattern in composefile.patterns(COMPOSE_DIRECTORY)
        for variant in (None, *composefile.variants(COMPOSE_DIRECTORY, pattern))
    ]


def name(value: object) -> str:
    return f"{value.pattern}.{value.variant}" if isinstance(value, Case) else str(value)


every_case = pytest.mark.parametrize("case", cases(), ids=name)
every_service = pytest.mark.parametrize(
    ("case", "service"), [(case, service) for case in cases() for service in case.tree()["services"]], ids=name
)


@every_service
def test_a_service_can_do_no_more_than_it_must(case: Case, service: str) -> None:
    tree = case.tree()["services"][service]
    assert tree["read_only"] is True
    assert any(mount.startswith("/tmp") and "noexec" in mount for mount in tree["tmpfs"])
    assert tree["cap_drop"] == ["ALL"]
    assert "cap_add" not in tree
    assert "privileged" not in tree
    assert tree["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", tree["user"])


@every_service
def test_a_service_has_limits(case: Case, service: str) -> None:
    tree = case.tree()["services"][service]
    assert tree["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert tree["logging"]["options"].keys() == {"max-size", "max-file"}


@every_service
def test_a_service_starts_and_ends_in_order(case: Case, service: str) -> None:
    tree = case.tree()["services"][service]
    assert tree["init"] is True
    assert tree["restart"] == "unless-stopped"
    assert composefile.seconds(tree["stop_grace_period"]) >= 30
    for condition in tree.get("depends_on", {}).values():
        assert condition["condition"] in ("service_healthy", "service_completed_successfully")


@every_service
def test_a_service_tells_its_health(case: Case, service: str) -> None:
    tree = case.tree()["services"][service]
    assert "healthcheck" in tree or tree["build"]["target"] in HEALTHCHECKED_TARGETS


@every_service
def test_an_image_has_a_version(case: Case, service: str) -> None:
    tree = case.tree()["services"][service]
    image, _, tag = tree["image"].partition(":")
    assert tag not in ("", "latest")
    if "build" in tree:
        assert image.startswith("serving-patterns/")
        assert tag == RELEASE


def test_an_image_of_one_name_holds_one_thing() -> None:
    built: dict[str, list[object]] = {}
    for case in cases():
        for tree in (tree for tree in case.tree()["services"].values() if "build" in tree):
            what = {"target": tree["build"]["target"], "options": tree["build"].get("args", {}).get("OPTIONS", "")}
            known = built.setdefault(tree["image"], [])
            known += [] if what in known else [what]
    assert {image: what for image, what in built.items() if len(what) > 1} == {}


@every_service
def test_a_service_is_labelled(case: Case, service: str) -> None:
    assert case.tree()["services"][service]["labels"] == {
        "app.kubernetes.io/name": case.pattern.replace("_", "-"),
        "app.kubernetes.io/component": service,
        "app.kubernetes.io/part-of": "serving-patterns",
        "app.kubernetes.io/version": RELEASE,
    }


@every_service
def test_no_service_has_a_fixed_name(case: Case, service: str) -> None:
    assert "container_name" not in case.tree()["services"][service]


@every_service
def test_every_setting_exists(case: Case, service: str) -> None:
    tree = case.tree()["services"][service]
    given = dict.fromkeys(case.read({}).variables, "1")
    named = case.read(given).services[service].environment.keys()
    assert not named & FROM_ENVIRONMENT_OF_THE_IMAGE
    if "build" in tree and "command" in tree:
        settings = importlib.import_module(tree["command"][0]).Settings
        assert named <= {field.upper() for field in settings.model_fields} | READ_BY_LIBRARIES


@every_case
def test_only_the_entry_is_published_and_only_to_this_host(case: Case) -> None:
    published = {name: tree["ports"] for name, tree in case.tree()["services"].items() if tree.get("ports")}
    assert len(published) == 1
    (ports,) = published.values()
    assert ports[0] == "127.0.0.1:${PORT:-8000}:8000"
    assert ports[1:] in ([], ["127.0.0.1:${GRPC_PORT:-8001}:8001"])


@every_case
def test_a_stack_is_named_after_its_pattern(case: Case) -> None:
    assert case.tree()["name"] == f"sp-{case.pattern.replace('_', '-')}"
    assert "version" not in case.tree()


@every_case
def test_a_pattern_has_its_package(case: Case) -> None:
    assert (COMPOSE_DIRECTORY.parent / "patterns" / case.pattern / "__init__.py").exists()


@every_case
def test_files_are_read_as_the_engine_reads_them(case: Case) -> None:
    if not shutil.which("docker"):
        pytest.skip("docker is not installed")
    paths = composefile.find(COMPOSE_DIRECTORY, case.pattern, case.variant)
    command = [
        "docker",
        "compose",
        *[word for path in paths for word in ("-f", str(path))],
        "config",
        "--format",
        "json",
    ]
    variables = {"PORT": "8123", "FAULTS": "true"}
    theirs = json.loads(subprocess.check_output(command, env={"PATH": os.environ["PATH"], **variables}, text=True))
    ours = case.read(variables).services
    assert theirs["services"].keys() == ours.keys()
    for name, service in ours.items():
        assert seen_by_the_engine(theirs["services"][name]) == seen_by_us(service)


def seen_by_the_engine(tree: dict[str, Any]) -> tuple[object, ...]:
    environment = {key: value for key, value in (tree.get("environment") or {}).items() if value is not None}
    ports = [(int(port["published"]), port["target"]) for port in tree.get("ports", [])]
    models = (tree.get("build") or {}).get("args", {}).get("MODELS", "").split()
    return tree["image"], tree.get("command") or [], environment, ports, tree["deploy"].get("replicas", 1), models


def seen_by_us(service: composefile.Service) -> tuple[object, ...]:
    ports = [(port.host, port.container) for port in service.ports]
    return service.image, service.command, service.environment, ports, service.replicas, service.models


def test_web_single_has_its_variants() -> None:
    assert composefile.variants(COMPOSE_DIRECTORY, "web_single") == ["loaded", "replicas"]


def test_the_dockerfile_builds_on_an_old_engine() -> None:
    assert not re.search(r"^#\s*syntax=", DOCKERFILE, re.MULTILINE)
    assert not re.search(r"--link\b|<<-?['\"]?\w", DOCKERFILE)


def test_images_run_as_an_ordinary_user_and_tell_their_health() -> None:
    stages = {
        match[2]: (match[1], match[3])
        for match in re.finditer(r"FROM (\S+) AS (\S+)\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.M | re.S)
    }
    for target in HEALTHCHECKED_TARGETS:
        parent, text = stages[target]
        assert "USER 10001:10001" in text
        assert "HEALTHCHECK" in text + stages.get(parent, ("", ""))[1]


def test_images_carry_the_release() -> None:
    assert set(re.findall(r"ARG VERSION=(\S+)", DOCKERFILE)) == {RELEASE}


@pytest.mark.parametrize(
    ("lock", "absent"),
    [
        ("api", "onnxruntime"),
        ("api", "pillow"),
        ("prep", "onnxruntime"),
        ("prep", "sudachipy"),
        ("model", "pillow"),
        ("model", "scikit-learn"),
        ("build", "sudachipy"),
        ("vision", "scikit-learn"),
    ],
)
def test_an_image_carries_only_what_it_runs(lock: str, absent: str) -> None:
    text = (COMPOSE_DIRECTORY.parent / "requirements" / f"{lock}.txt").read_text()
    assert f"\n{absent}==" not in text


@pytest.mark.parametrize("lock", ["api", "prep", "model", "vision", "japanese", "build", "run"])
def test_every_lock_pins_what_is_tested(lock: str) -> None:
    folder = COMPOSE_DIRECTORY.parent / "requirements"
    pins = [set(re.findall(r"^\S+==\S+", (folder / f"{one}.txt").read_text(), re.M)) for one in (lock, "dev")]
    assert pins[0] <= pins[1]
