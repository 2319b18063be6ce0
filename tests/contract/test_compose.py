"""Every compose file keeps the rules: hardened, labelled, tagged, one published entry, settings that exist."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from common import RELEASE
from runtimes import composefile
from runtimes.base import COMPOSE_DIRECTORY
from tests.contract.manifests import CASES, Case
from tests.contract.sources import Offenders, rule, source

DOCKERFILE = source("compose/Dockerfile")
WITH_HEALTHCHECK = {"api", "prep", "model", "vision", "store"}  # targets of the Dockerfile
READ_BY_LIBRARIES = {
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"),
    *("AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP", "GOOGLE_SERVICE_ACCOUNT_KEY"),
    *("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"),
}
SET_BY_THE_IMAGE = {"HOST", "HTTP_PORT", "GRPC_PORT"}
ENTRY_PORTS = (
    ["${BIND:-127.0.0.1}:${PORT:-8000}:8000"],
    # without GRPC_PORT a free port, so that stacks with different values of PORT run side by side
    ["${BIND:-127.0.0.1}:${PORT:-8000}:8000", "${BIND:-127.0.0.1}:${GRPC_PORT:-0}:8001"],
)
SHORTEST_GRACE_SECONDS = 30
# libraries that an image has no use for
ABSENT = {
    "api": {"onnxruntime", "pillow"},
    "prep": {"onnxruntime", "sudachipy"},
    "model": {"pillow", "scikit-learn"},
    "build": {"sudachipy"},
    "vision": {"scikit-learn"},
}
Tree = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A service of a compose file, as rules look at it."""

    case: Case
    service: str
    tree: Tree

    def __str__(self) -> str:
        return f"compose/{self.case.name}.yaml, service {self.service}"


def places() -> Iterator[Place]:
    for case in CASES:
        for service, found in case.tree()["services"].items():
            yield Place(case, service, found)


def file_of(case: Case) -> str:
    return f"compose/{case.name}.yaml"


def test_a_service_can_do_no_more_than_it_must() -> None:
    expected = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    with rule("a container has the least privileges") as offenders:
        for place in places():
            for key, value in expected.items():
                offenders.compare(f"{place}: {key}", place.tree.get(key), value)
            for key in ("cap_add", "privileged"):
                offenders.require(key not in place.tree, str(place), key, "no such key")
            temporary = place.tree.get("tmpfs", [])
            bounded = any(mount.startswith("/tmp") and "noexec" in mount for mount in temporary)
            offenders.require(bounded, f"{place}: tmpfs", temporary, "/tmp with noexec")
            user = place.tree.get("user", "")
            offenders.require(bool(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)), f"{place}: user", user, "ids above 0")


def test_a_service_has_limits() -> None:
    with rule("a container has limits, its log too") as offenders:
        for place in places():
            limits = place.tree.get("deploy", {}).get("resources", {}).get("limits", {})
            offenders.compare(f"{place}: limits", set(limits), {"cpus", "memory", "pids"})
            options = place.tree.get("logging", {}).get("options", {})
            offenders.compare(f"{place}: logging.options", set(options), {"max-size", "max-file"})


def test_a_service_starts_and_ends_in_order() -> None:
    healthy = ("service_healthy", "service_completed_successfully")
    with rule("a container starts after what it needs, is restarted, and has time to drain") as offenders:
        for place in places():
            offenders.compare(f"{place}: init", place.tree.get("init"), True)
            offenders.compare(f"{place}: restart", place.tree.get("restart"), "unless-stopped")
            grace = composefile.seconds(place.tree.get("stop_grace_period", "10s"))
            where = f"{place}: stop_grace_period"
            offenders.require(
                grace >= SHORTEST_GRACE_SECONDS, where, f"{grace} s", f"{SHORTEST_GRACE_SECONDS} s or more"
            )
            for other, condition in place.tree.get("depends_on", {}).items():
                found = condition["condition"]
                offenders.require(found in healthy, f"{place}: depends_on.{other}", found, healthy)


def test_a_service_tells_its_health() -> None:
    with rule("a container has a health check, its own or its image's") as offenders:
        for place in places():
            target = place.tree.get("build", {}).get("target")
            checked = "healthcheck" in place.tree or target in WITH_HEALTHCHECK
            offenders.require(checked, str(place), "no health check", "healthcheck, or an image that has one")


def test_an_image_has_a_version() -> None:
    with rule("an image is named with its version") as offenders:
        for place in places():
            image, _, tag = place.tree["image"].partition(":")
            offenders.require(tag not in ("", "latest"), f"{place}: image", place.tree["image"], "a version")
            if "build" in place.tree:
                own = image.startswith("serving-patterns/") and tag == RELEASE
                offenders.require(own, f"{place}: image", place.tree["image"], f"serving-patterns/...:{RELEASE}")


def test_an_image_of_one_name_holds_one_thing() -> None:
    built: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for place in places():
        if "build" in place.tree:
            build = place.tree["build"]
            what = f"target {build['target']} with options {build.get('args', {}).get('OPTIONS', '')!r}"
            built[place.tree["image"]][what].append(str(place))
    with rule("an image's name says what is in it") as offenders:
        for image, contents in built.items():
            offenders.require(len(contents) == 1, image, dict(contents), "one target with the same options")


def test_a_service_is_labelled() -> None:
    with rule("labels say what a container belongs to") as offenders:
        for place in places():
            expected = {
                "app.kubernetes.io/name": place.case.pattern.replace("_", "-"),
                "app.kubernetes.io/component": place.service,
                "app.kubernetes.io/part-of": "serving-patterns",
                "app.kubernetes.io/version": RELEASE,
            }
            offenders.compare(f"{place}: labels", place.tree.get("labels"), expected)


def test_no_service_has_a_fixed_name() -> None:
    with rule("any number of stacks run side by side") as offenders:
        for place in places():
            offenders.require("container_name" not in place.tree, str(place), "container_name", "no such key")


def test_every_setting_exists() -> None:
    with rule("a compose file sets what the service reads") as offenders:
        for case in CASES:
            read = with_every_variable(case)
            for service, found in case.tree()["services"].items():
                check_settings(offenders, Place(case, service, found), set(read.services[service].environment))


def with_every_variable(case: Case) -> composefile.ComposeFile:
    """The compose file with every variable that it mentions set."""
    mentioned = case.composed().variables
    return composefile.load(COMPOSE_DIRECTORY, case.pattern, case.variant, dict.fromkeys(mentioned, "1"))


def check_settings(offenders: Offenders, place: Place, given: set[str]) -> None:
    for name in sorted(given & SET_BY_THE_IMAGE):
        offenders.add(f"{place}: environment", name, "left to the image")
    if "build" in place.tree and "command" in place.tree:
        role = place.tree["command"][0]
        known = {field.upper() for field in importlib.import_module(role).Settings.model_fields} | READ_BY_LIBRARIES
        for name in sorted(given - known):
            offenders.add(f"{place}: environment", name, f"a setting of {role}")


def test_only_the_entry_is_published_and_only_to_this_host() -> None:
    with rule("one service has host ports, on 127.0.0.1") as offenders:
        for case in CASES:
            published = {name: one["ports"] for name, one in case.tree()["services"].items() if one.get("ports")}
            one_entry = len(published) == 1 and next(iter(published.values())) in ENTRY_PORTS
            offenders.require(one_entry, file_of(case), published, f"one service with {ENTRY_PORTS[0]} (and gRPC)")


def test_a_stack_is_named_after_its_pattern() -> None:
    with rule("a project is named after its pattern, in the current compose format") as offenders:
        for case in CASES:
            offenders.compare(f"{file_of(case)}: name", case.tree()["name"], f"sp-{case.pattern.replace('_', '-')}")
            offenders.require("version" not in case.tree(), file_of(case), "version", "no such key")
            package = source(f"patterns/{case.pattern}/__init__.py")
            offenders.require(package.path.exists(), file_of(case), "no package of that name", package.name)


def test_files_are_read_as_the_engine_reads_them() -> None:
    if not shutil.which("docker"):
        pytest.skip("docker is not installed")
    variables = {"PORT": "8123", "FAULTS": "true"}
    started = {case: compose_config(case, variables) for case in CASES}
    with rule("our reading of a compose file is the engine's") as offenders:
        for case, process in started.items():
            printed, _ = process.communicate(timeout=120)
            assert process.returncode == 0, f"{file_of(case)}: docker compose config failed; its message is above"
            theirs = json.loads(printed)["services"]
            ours = composefile.load(COMPOSE_DIRECTORY, case.pattern, case.variant, variables).services
            offenders.compare(f"{file_of(case)}: services", set(ours), set(theirs))
            for name in ours.keys() & theirs.keys():
                where = f"{file_of(case)}, service {name}"
                offenders.compare(where, seen_by_us(ours[name]), seen_by_the_engine(theirs[name]))


def compose_config(case: Case, variables: dict[str, str]) -> subprocess.Popen[str]:
    """`docker compose config`, started and not awaited: the cases are read side by side."""
    files = [
        word for path in composefile.find(COMPOSE_DIRECTORY, case.pattern, case.variant) for word in ("-f", str(path))
    ]
    command = ["docker", "compose", *files, "config", "--format", "json"]
    return subprocess.Popen(command, env={"PATH": os.environ["PATH"], **variables}, stdout=subprocess.PIPE, text=True)


def seen_by_the_engine(found: Tree) -> tuple[object, ...]:
    environment = {key: value for key, value in (found.get("environment") or {}).items() if value is not None}
    ports = [(int(port["published"]), port["target"]) for port in found.get("ports", [])]
    models = (found.get("build") or {}).get("args", {}).get("MODELS", "").split()
    return found["image"], found.get("command") or [], environment, ports, found["deploy"].get("replicas", 1), models


def seen_by_us(service: composefile.ComposeService) -> tuple[object, ...]:
    ports = [(port.host, port.container) for port in service.ports]
    return service.image, service.command, service.environment, ports, service.replicas, service.models


def test_web_single_has_its_variants() -> None:
    assert composefile.variants(COMPOSE_DIRECTORY, "web_single") == ["loaded", "replicas"]


# --- images


def test_the_dockerfile_builds_on_an_old_engine() -> None:
    with rule("no syntax that only BuildKit's newer frontends know") as offenders:
        for where, found in DOCKERFILE.find(re.compile(r"^#\s*syntax=.*|--link\b|<<-?['\"]?\w", re.M)):
            offenders.add(where, found, "plain Dockerfile syntax")


def test_images_run_as_an_ordinary_user_and_tell_their_health() -> None:
    found = re.finditer(r"FROM (\S+) AS (\S+)\n(.*?)(?=^FROM|\Z)", DOCKERFILE.text, re.M | re.S)
    stages = {match[2]: (match[1], match[3]) for match in found}
    with rule("an image that serves has a user and a health check") as offenders:
        for target in sorted(WITH_HEALTHCHECK):
            parent, text = stages[target]
            while parent in stages:
                parent, above = stages[parent]
                text = above + text
            where = f"{DOCKERFILE.name}, stage {target}"
            offenders.require("USER 10001:10001" in text, where, "another user", "USER 10001:10001")
            offenders.require("HEALTHCHECK" in text, where, "no HEALTHCHECK", "one, its own or its parent's")


def test_images_carry_the_release() -> None:
    assert set(re.findall(r"ARG VERSION=(\S+)", DOCKERFILE.text)) == {RELEASE}


def test_an_image_carries_only_what_it_runs() -> None:
    with rule("an image has no library that it does not use") as offenders:
        for lock, libraries in ABSENT.items():
            file = source(f"requirements/{lock}.txt")
            for where, found in file.find(re.compile(rf"^(?:{'|'.join(libraries)})==\S+", re.M)):
                offenders.add(where, found, f"none of {sorted(libraries)} in the image {lock}")


def test_every_lock_pins_what_is_tested() -> None:
    with rule("what is deployed is what is tested: the pins of requirements/dev.txt") as offenders:
        tested = pins("dev")
        # not prep and model: each side of prep_pred is pinned by itself, and tested in its image
        for lock in ("api", "vision", "japanese", "estimator", "build", "run"):
            for pin in sorted(pins(lock) - tested):
                offenders.add(f"requirements/{lock}.txt", pin, "the same version as in requirements/dev.txt")


def test_each_side_of_prep_pred_has_a_lock_file_of_its_own() -> None:
    makefile = source("Makefile").text
    with rule("the images of prep_pred's sides are installed from one lock file each, with hashes") as offenders:
        for side in ("prep", "model"):
            copied = f"COPY requirements/{side}.txt /tmp/requirements.txt" in DOCKERFILE.text
            offenders.require(copied, DOCKERFILE.name, f"no copy of {side}.txt", "one, in the stage of its packages")
            offenders.require(f"EXTRAS_{side} :=" in makefile, "Makefile", f"no SIDE={side}", "make lock SIDE=...")
            lines = source(f"requirements/{side}.txt").text.splitlines()
            bare = [line for line in lines if "==" in line and not line.endswith("\\")]
            offenders.require(not bare, f"requirements/{side}.txt", bare, "a hash for every package")


def pins(lock: str) -> set[str]:
    return set(re.findall(r"^\S+==\S+", source(f"requirements/{lock}.txt").text, re.M))
