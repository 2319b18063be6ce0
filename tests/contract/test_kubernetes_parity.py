"""What runs on Kubernetes is what runs under compose: the same services with the same settings, calling the same ones.

Different by intent: a balancer is a plain Service, a store has a command of its own and a password, DRAIN_DELAY_SECONDS
is set because a Service hears late of a pod that leaves, and requests exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from runtimes import composefile
from runtimes.base import COMPOSE_DIRECTORY
from tests.manifests import CASES, COMPONENT, CREATES_SECRETS, KUBERNETES, Case, Manifests, Pods, every_case, peers

ONLY_HERE = {"DRAIN_DELAY_SECONDS"}
# what the images listen to; gRPC is spoken by everything that is started by common.serve
PORTS = {"store": {"http": 8000}, "redis": {"redis": 6379}}
SERVED = {"http": 8000, "grpc": 8001}
URL = re.compile(r"\b(?P<scheme>[a-z]+)://(?:[^@/\s,]*@)?(?P<host>[a-z][\w-]*):(?P<port>\d+)")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def is_balancer(service: composefile.Service) -> bool:
    return service.image.startswith("nginx:")


def is_store(service: composefile.Service) -> bool:
    return not service.built and not is_balancer(service)


def services(case: Case) -> dict[str, composefile.Service]:
    """Those that are pods on Kubernetes."""
    return {name: one for name, one in case.composed().services.items() if not is_balancer(one)}


def behind_balancer(case: Case, name: str) -> str:
    """The service itself, or the one that this balancer's configuration leads to."""
    service = case.composed().services[name]
    if not is_balancer(service):
        return name
    (mounted,) = (volume.partition(":")[0] for volume in service.volumes)
    (led_to,) = set(re.findall(r"http://([\w-]+):8000;", (COMPOSE_DIRECTORY / mounted).read_text()))
    return str(led_to)


def canonical(value: str, resolve: Callable[[str], str]) -> str:
    """A setting with the hosts of its URLs replaced by the workloads behind them, and without passwords."""
    return URL.sub(lambda url: f"{url['scheme']}://{resolve(url['host'])}:{url['port']}", value)


def settings_there(case: Case, service: composefile.Service) -> dict[str, str]:
    """A service's environment under compose with no variable set."""
    return {
        name: canonical(value, lambda host: behind_balancer(case, host)) for name, value in service.environment.items()
    }


def settings_here(manifests: Manifests, pods: Pods) -> dict[str, str]:
    """The environment of a workload's container, without what a Secret gives."""
    given = [one for one in pods.app.get("env", []) if one["name"] not in ONLY_HERE and "valueFrom" not in one]
    return {
        one["name"]: canonical(one.get("value", ""), lambda host: manifests.behind(host).name)
        for one in sorted(given, key=lambda one: str(one["name"]))
    }


def from_secrets(pods: Pods) -> set[str]:
    """The settings that a Secret gives; nothing else may give any."""
    given = [one for one in pods.app.get("env", []) if "valueFrom" in one]
    assert all(one["valueFrom"].keys() == {"secretKeyRef"} for one in given)
    return {one["name"] for one in given}


def number(quantity: Any) -> float:
    """Cores or bytes, as compose (512M, 0.5) or Kubernetes (512Mi, 500m) write them."""
    text = str(quantity).removesuffix("i")
    if text.endswith("m"):
        return float(text[:-1]) / 1000
    return float(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS else float(text)


def test_every_compose_file_has_its_manifests_and_the_other_way_round() -> None:
    assert {path.name for path in (KUBERNETES / "patterns").iterdir()} == {case.name for case in CASES}


@every_case
def test_the_services_are_the_same(case: Case) -> None:
    assert case.manifests.workloads.keys() == services(case).keys()


@every_case
def test_each_runs_the_same_image_with_the_same_arguments(case: Case) -> None:
    for name, pods in case.manifests.workloads.items():
        service = services(case)[name]
        assert pods.app["image"] == service.image, name
        if not is_store(service):
            assert pods.app.get("args", []) == service.command, name
            assert pods.app.get("command", []) == service.entrypoint, name


@every_case
def test_each_has_the_same_settings(case: Case) -> None:
    for name, pods in case.manifests.workloads.items():
        secret, there = from_secrets(pods), settings_there(case, services(case)[name])
        assert settings_here(case.manifests, pods) == {key: there[key] for key in sorted(there.keys() - secret)}, name


@every_case
def test_each_listens_to_the_same_ports(case: Case) -> None:
    for name, pods in case.manifests.workloads.items():
        assert pods.ports == PORTS.get(name, SERVED), name


@every_case
def test_each_has_as_many_replicas_and_the_same_time_to_end(case: Case) -> None:
    for name, pods in case.manifests.workloads.items():
        service = services(case)[name]
        assert pods.tree["spec"].get("replicas", 1) == service.replicas, name
        assert pods.spec.get("terminationGracePeriodSeconds", 30) == service.grace_seconds, name


@every_case
def test_each_has_the_same_limits(case: Case) -> None:
    trees = composefile.merge(case.composed().paths)["services"]
    for name, pods in case.manifests.workloads.items():
        here, there = pods.app["resources"]["limits"], trees[name]["deploy"]["resources"]["limits"]
        assert number(here["cpu"]) == number(there["cpus"]), name
        assert number(here["memory"]) == number(there["memory"]), name


# --- who is called


@every_case
def test_the_entry_leads_to_what_compose_publishes(case: Case) -> None:
    published, manifests = case.composed().entry, case.manifests
    spec = manifests.services["entry"]["spec"]
    assert spec.get("type", "ClusterIP") == "ClusterIP"
    assert {port["port"] for port in spec["ports"]} == {port.container for port in published.ports}
    entry = behind_balancer(case, published.name)
    assert manifests.behind("entry").name == entry
    marked = {one.name for one in manifests.pods if one.labels.get("serving-patterns/entry") == "true"}
    assert marked == {entry}


@every_case
def test_a_service_leads_to_ports_that_its_pods_have(case: Case) -> None:
    manifests = case.manifests
    for name, service in manifests.services.items():
        pods = manifests.behind(name)
        assert service["metadata"]["labels"][COMPONENT] == pods.name
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            assert pods.ports.get(target, target) == port["port"], name
            assert port["port"] in pods.ports.values(), name
        assert name in ("entry", *case.composed().services), name


@every_case
def test_whoever_is_called_has_a_service_with_that_port(case: Case) -> None:
    manifests = case.manifests
    for pods in manifests.workloads.values():
        for url in URL.finditer(" ".join(one.get("value", "") for one in pods.app.get("env", []))):
            assert int(url["port"]) in {port["port"] for port in manifests.services[url["host"]]["spec"]["ports"]}


def called(case: Case) -> set[tuple[str, str, int]]:
    """Who calls whom, by the URLs in compose's settings; whoever is called is reached on all ports that it has."""
    return {
        (name, url["host"], port)
        for name, service in services(case).items()
        for value in settings_there(case, service).values()
        for url in URL.finditer(value)
        for port in PORTS.get(url["host"], SERVED).values()
    }


@every_case
def test_a_caller_may_call_whom_its_settings_name_and_nobody_else(case: Case) -> None:
    assert case.manifests.edges("egress") == called(case)


@every_case
def test_whoever_is_called_is_reached_by_its_callers_and_nobody_else(case: Case) -> None:
    assert case.manifests.edges("ingress") == called(case)


@every_case
def test_what_no_rule_allows_is_refused(case: Case) -> None:
    everybody = [tree["spec"] for tree in case.manifests.of("NetworkPolicy") if tree["spec"]["podSelector"] == {}]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in everybody


@every_case
def test_only_the_entry_is_reached_from_outside(case: Case) -> None:
    manifests = case.manifests
    for own, rule in manifests.rules("ingress"):
        if any(peer.keys() != {"podSelector"} for peer in peers(rule)) or not peers(rule):
            assert {one.name for one in own} == {manifests.behind("entry").name}
            assert {port["port"] for port in rule["ports"]} == SERVED.keys()


@every_case
def test_beyond_the_stack_names_are_looked_up_and_secrets_created_and_nothing_else(case: Case) -> None:
    for own, rule in case.manifests.rules("egress"):
        beyond = [peer for peer in peers(rule) if peer.keys() != {"podSelector"}]
        ports = {port["port"] for port in rule["ports"]}
        if not peers(rule):
            assert all(CREATES_SECRETS in one.labels for one in own)
            assert ports == {53, 443, 6443}
        elif beyond:
            assert beyond == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]
            assert ports == {53}
