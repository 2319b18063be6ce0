"""The Kubernetes manifests as kustomize renders them: the pods, and which pods may call which others."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtimes import composefile
from runtimes.base import COMPOSE_DIRECTORY

KUBERNETES = COMPOSE_DIRECTORY.parent / "k8s"
COMPONENT = "app.kubernetes.io/component"
CREATES_SECRETS = "serving-patterns/creates-secrets"
STORE = "serving-patterns/store"
Tree = dict[str, Any]
Edge = tuple[str, str, int]  # caller, called, the called one's port


@dataclass(frozen=True)
class Case:
    """A pattern, or one of its variants, as compose and Kubernetes have it."""

    pattern: str
    variant: str | None

    @property
    def name(self) -> str:
        return f"{self.pattern}.{self.variant}" if self.variant else self.pattern

    @property
    def manifests(self) -> Manifests:
        return render(KUBERNETES / "patterns" / self.name)

    @cache  # noqa: B019 (a handful of cases, which live as long as the tests)
    def tree(self) -> Tree:
        """The merged compose files, variables unresolved."""
        return composefile.merge(composefile.find(COMPOSE_DIRECTORY, self.pattern, self.variant))

    @cache  # noqa: B019 (the same)
    def composed(self) -> composefile.ComposeFile:
        """The compose file with no variable set."""
        return composefile.load(COMPOSE_DIRECTORY, self.pattern, self.variant, {})


CASES = [
    Case(pattern, variant)
    for pattern in composefile.patterns(COMPOSE_DIRECTORY)
    for variant in (None, *composefile.variants(COMPOSE_DIRECTORY, pattern))
]
RENDERED = sorted([KUBERNETES / "patterns" / case.name for case in CASES] + list((KUBERNETES / "stores").iterdir()))


def renderings() -> Iterator[tuple[str, Manifests]]:
    """Every folder that is applied by itself, with what is in it; rendered two at a time."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(render, RENDERED))
    for folder in RENDERED:
        yield folder.relative_to(KUBERNETES.parent).as_posix(), render(folder)


@cache
def render(folder: Path) -> Manifests:
    """What `kubectl apply -k` would apply; skips the test where there is no kubectl, unless CI is set."""
    if shutil.which("kubectl") is None and not os.environ.get("CI"):
        pytest.skip("kubectl is not installed")
    assert shutil.which("kubectl"), "kubectl is not installed, and CI has to render the manifests"
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return Manifests(list(yaml.load_all(done.stdout, yaml.CSafeLoader)))


@dataclass(frozen=True)
class Pods:
    """The pods of one Deployment, StatefulSet, Job or CronJob."""

    tree: Tree

    @property
    def name(self) -> str:
        return str(self.tree["metadata"]["name"])

    @property
    def kind(self) -> str:
        return str(self.tree["kind"])

    @property
    def template(self) -> Tree:
        spec: Tree = self.tree["spec"]
        found: Tree = (spec["jobTemplate"]["spec"] if self.kind == "CronJob" else spec)["template"]
        return found

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template["metadata"]["labels"])

    @property
    def spec(self) -> Tree:
        return dict(self.template["spec"])

    @property
    def containers(self) -> list[Tree]:
        """All of them, those that run first included."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def app(self) -> Tree:
        (found,) = (one for one in self.spec["containers"] if one["name"] == "app")
        return dict(found)

    @property
    def ports(self) -> dict[str, int]:
        """The container's ports by name."""
        return {port["name"]: port["containerPort"] for port in self.app.get("ports", [])}


class Manifests:
    """The objects of one rendering."""

    def __init__(self, objects: list[Tree]) -> None:
        self.objects = objects

    def of(self, *kinds: str) -> list[Tree]:
        return [tree for tree in self.objects if tree["kind"] in kinds]

    @property
    def workloads(self) -> dict[str, Pods]:
        """What stays up, by name."""
        return {one.name: one for one in self.pods if one.kind in ("Deployment", "StatefulSet")}

    @property
    def pods(self) -> list[Pods]:
        return [Pods(tree) for tree in self.of("Deployment", "StatefulSet", "Job", "CronJob")]

    @property
    def services(self) -> dict[str, Tree]:
        return {tree["metadata"]["name"]: tree for tree in self.of("Service")}

    def behind(self, service: str) -> Pods:
        """The one workload that a Service leads to."""
        selector = {"matchLabels": self.services[service]["spec"]["selector"]}
        (found,) = (one for one in self.workloads.values() if selects(selector, one.labels))
        return found

    def rules(self, direction: str) -> Iterator[tuple[list[Pods], Tree]]:
        """Each rule of the NetworkPolicies in `direction` (ingress or egress) with the pods that it is for."""
        for policy in self.of("NetworkPolicy"):
            own = [one for one in self.pods if selects(policy["spec"]["podSelector"], one.labels)]
            yield from ((own, rule) for rule in policy["spec"].get(direction, []))

    def edges(self, direction: str) -> set[Edge]:
        """Calls that the rules of the callers (egress) or of the called pods (ingress) allow in this namespace."""
        return {
            (caller.name, called.name, port)
            for own, rule in self.rules(direction)
            for peer in peers(rule)
            if peer.keys() == {"podSelector"}
            for other in self.pods
            if selects(peer["podSelector"], other.labels)
            for caller, called in ((one, other) if direction == "egress" else (other, one) for one in own)
            for port in _numbers(rule["ports"], called)
        }


def peers(rule: Tree) -> list[Tree]:
    """The peers that a rule names; without any, it holds for all addresses."""
    return [*rule.get("from", []), *rule.get("to", [])]


def selects(selector: Tree, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(_holds(one, labels) for one in selector.get("matchExpressions", []))


def _holds(expression: Tree, labels: dict[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", [])
    return {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression["operator"]]


def _numbers(ports: Iterable[Tree], called: Pods) -> Iterator[int]:
    """The called pods' ports that a rule names; a name that they do not have leads nowhere."""
    for port in ports:
        number = called.ports.get(port["port"]) if isinstance(port["port"], str) else port["port"]
        if number is not None:
            yield number
