"""API_KEYS_FILE on every runtime: the entry, and nothing behind it, is given it, in a read-only folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtimes import api_keys, composefile, overlay
from runtimes.base import COMPOSE_DIRECTORY
from runtimes.errors import StackError
from tests.contract.manifests import CASES, KUBERNETES, Case, Pods, render
from tests.contract.sources import modules, rule

COMPONENT = KUBERNETES / "components" / "api-keys"
FOLDER = "/run/api-keys"
WITH_AN_ENTRY_OF_ITS_OWN = [
    case for case in CASES if case.name in ("web_single", "prep_pred.proxy", "parallel.hierarchy")
]


def file_of(case: Case, keys: Path) -> composefile.ComposeFile:
    return composefile.load(COMPOSE_DIRECTORY, case.pattern, case.variant, {api_keys.SETTING: str(keys)})


def keys_in(folder: Path) -> Path:
    path = folder / "of-callers"
    path.write_text("")
    return path


def test_every_demo_sends_the_key_of_its_caller() -> None:
    with rule(
        "a demo opens URLs with common.client.plain, which sends API_KEY and names a key that lacks"
    ) as offenders:
        for source in modules("patterns"):
            if source.name.endswith("/demo.py"):
                offenders.require("urlopen" not in source.text, source.name, "urlopen", "opened")


def test_what_takes_keys_takes_a_file_of_them_too(tmp_path: Path) -> None:
    with rule("API_KEYS_FILE is passed on wherever API_KEYS is, and compose can mount it there") as offenders:
        for case in CASES:
            for name, tree in case.tree()["services"].items():
                given = {key: value for key, value in tree.get("environment", {}).items() if key.startswith("API_KEYS")}
                where = f"compose/{case.name}.yaml, service {name}"
                offenders.compare(where, given.get("API_KEYS_FILE", "none"), given.get("API_KEYS", "none"))
            for option in api_keys.options(file_of(case, tmp_path)):
                offenders.require(option.is_file(), f"compose/{case.name}.yaml", f"no {option.name}", "such a file")


@pytest.mark.parametrize("case", WITH_AN_ENTRY_OF_ITS_OWN, ids=lambda case: case.name)
def test_compose_mounts_the_folder_of_the_keys_into_the_entry(case: Case, tmp_path: Path) -> None:
    if not shutil.which("docker"):
        pytest.skip("docker is not installed")
    file, keys = file_of(case, keys_in(tmp_path)), keys_in(tmp_path)
    paths = [word for path in [*file.paths, *api_keys.options(file)] for word in ("-f", str(path))]
    environment = {"PATH": os.environ["PATH"], api_keys.SETTING: str(keys), **api_keys.variables(file)}
    command = ["docker", "compose", *paths, "config", "--format", "json"]
    services = json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)[
        "services"
    ]
    mounted = {name: one for name, one in services.items() if FOLDER in str(one.get("volumes"))}
    assert list(mounted) == [file.entry.name]
    (entry,) = mounted.values()
    assert entry["environment"][api_keys.SETTING] == f"{FOLDER}/{keys.name}"
    (volume,) = entry["volumes"]
    assert (volume["type"], volume["source"], volume["read_only"]) == ("bind", str(tmp_path), True)


def test_a_file_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"API_KEYS_FILE=.*missing: expected a file"):
        api_keys.variables(file_of(CASES[0], tmp_path / "missing"))


@pytest.mark.parametrize("case", WITH_AN_ENTRY_OF_ITS_OWN, ids=lambda case: case.name)
def test_the_component_mounts_the_secret_into_the_entry(case: Case, tmp_path: Path) -> None:
    manifests = KUBERNETES / "patterns" / case.name
    kustomization = {"resources": [os.path.relpath(manifests.resolve(), tmp_path.resolve())]}
    components = [os.path.relpath(COMPONENT.resolve(), tmp_path.resolve())]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({**kustomization, "components": components}))
    rendered = render(tmp_path)
    keyed = {name: pods for name, pods in rendered.workloads.items() if setting(pods)}
    assert list(keyed) == [rendered.behind("entry").name]
    check_mounted(next(iter(keyed.values())))


def test_make_up_on_a_cluster_puts_the_file_into_a_secret(tmp_path: Path) -> None:
    manifests = KUBERNETES / "patterns" / "web_single"
    environment = {"api": {api_keys.SETTING: "/of/this/machine", "LOG_LEVEL": "debug"}}
    overlay.write(tmp_path, manifests, render(manifests).objects, "here", environment, {}, keys="ada:...")
    rendered = render(tmp_path)
    (secret,) = rendered.of("Secret")
    assert (secret["metadata"]["name"], secret["stringData"]) == ("api-keys", {"keys": "ada:..."})
    check_mounted(rendered.behind("entry"))


def setting(pods: Pods) -> str:
    """The value of API_KEYS_FILE; empty where there is none."""
    return next((one.get("value") or "" for one in pods.app.get("env", []) if one["name"] == api_keys.SETTING), "")


def check_mounted(pods: Pods) -> None:
    assert setting(pods) == f"{FOLDER}/keys"
    mount: dict[str, Any]
    (mount,) = (one for one in pods.app["volumeMounts"] if one["mountPath"] == FOLDER)
    assert mount["readOnly"]
    assert "subPath" not in mount
    assert {"name": mount["name"], "secret": {"secretName": "api-keys"}} in pods.spec["volumes"]
