"""What runs on Kubernetes is what runs under compose: the same services with the same settings, calling the same ones.

Different by intent: a balancer is a plain Service, a store has a command of its own and a password, DRAIN_DELAY_SECONDS
is set because a Service hears late of a pod that leaves, and requests exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runtimes import composefile
from runtimes.base import COMPOSE_DIRECTORY
from tests.contract.manifests import (
    CASES,
    COMPONENT,
    CREATES_SECRETS,
    KUBERNETES,
    Case,
    Manifests,
    Pods,
    peers,
)
from tests.contract.sources import rule

ONLY_HERE = {"DRAIN_DELAY_SECONDS"}
# what the images listen to; gRPC is spoken by everything that is started by common.serve
PORTS = {"store": {"http": 8000}, "redis": {"redis": 6379}}
SERVED = {"http": 8000, "grpc": 8001}
URL = re.compile(r"\b(?P<scheme>[a-z]+)://(?:[^@/\s,]*@)?(?P<host>[a-z][\w-]*):(?P<port>\d+)")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def is_balancer(service: composefile.ComposeService) -> bool:
    return service.image.startswith("nginx:")


def is_store(service: composefile.ComposeService) -> bool:
    return not service.built and not is_balancer(service)


def services(case: Case) -> dict[str, composefile.ComposeService]:
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


def settings_there(case: Case, service: composefile.ComposeService) -> dict[str, str]:
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


def workloads() -> Iterator[tuple[str, Case, Pods, composefile.ComposeService]]:
    """Every workload beside its service; those without one are found by test_the_services_are_the_same."""
    for case in CASES:
        there = services(case)
        for name, pods in case.manifests.workloads.items():
            if name in there:
                yield f"k8s/patterns/{case.name}, {name}", case, pods, there[name]


def place(case: Case) -> str:
    return f"k8s/patterns/{case.name}"


def test_every_compose_file_has_its_manifests_and_the_other_way_round() -> None:
    assert {path.name for path in (KUBERNETES / "patterns").iterdir()} == {case.name for case in CASES}


def test_the_services_are_the_same() -> None:
    with rule("the workloads are compose's services, without balancers") as offenders:
        for case in CASES:
            offenders.compare(place(case), set(case.manifests.workloads), set(services(case)))


def test_each_runs_the_same_image_with_the_same_arguments() -> None:
    with rule("a workload runs what compose runs") as offenders:
        for where, _, pods, service in workloads():
            offenders.compare(f"{where}: image", pods.app["image"], service.image)
            if not is_store(service):
                offenders.compare(f"{where}: args", pods.app.get("args", []), service.command)
                offenders.compare(f"{where}: command", pods.app.get("command", []), service.entrypoint)


def test_each_has_the_same_settings() -> None:
    with rule("a workload has compose's environment, less what a Secret gives") as offenders:
        for where, case, pods, service in workloads():
            there = settings_there(case, service)
            expected = {key: there[key] for key in sorted(there.keys() - from_secrets(pods))}
            offenders.compare(f"{where}: env", settings_here(case.manifests, pods), expected)


def test_each_listens_to_the_same_ports() -> None:
    with rule("a container's ports are those of its image") as offenders:
        for where, _, pods, _ in workloads():
            offenders.compare(f"{where}: ports", pods.ports, PORTS.get(pods.name, SERVED))


def test_each_has_as_many_replicas_and_the_same_time_to_end() -> None:
    with rule("replicas and the time to drain are compose's") as offenders:
        for where, _, pods, service in workloads():
            offenders.compare(f"{where}: replicas", pods.tree["spec"].get("replicas", 1), service.replicas)
            grace = pods.spec.get("terminationGracePeriodSeconds", 30)
            offenders.compare(f"{where}: terminationGracePeriodSeconds", grace, service.grace_seconds)


def test_each_has_the_same_limits() -> None:
    with rule("limits of cpu and memory are compose's") as offenders:
        for where, case, pods, _ in workloads():
            there = case.tree()["services"][pods.name]["deploy"]["resources"]["limits"]
            here = pods.app["resources"]["limits"]
            offenders.compare(f"{where}: cpu", number(here["cpu"]), number(there["cpus"]))
            offenders.compare(f"{where}: memory", number(here["memory"]), number(there["memory"]))


# --- who may call which service


def test_the_entry_leads_to_what_compose_publishes() -> None:
    with rule("the Service `entry` leads to the service that compose publishes, inside the cluster") as offenders:
        for case in CASES:
            where, published, manifests = place(case), case.composed().entry, case.manifests
            spec, entry = manifests.services["entry"]["spec"], behind_balancer(case, published.name)
            offenders.compare(f"{where}, entry: type", spec.get("type", "ClusterIP"), "ClusterIP")
            ports = {port["port"] for port in spec["ports"]}
            offenders.compare(f"{where}, entry: ports", ports, {port.container for port in published.ports})
            offenders.compare(f"{where}, entry: leads to", manifests.behind("entry").name, entry)
            marked = {one.name for one in manifests.pods if one.labels.get("serving-patterns/entry") == "true"}
            offenders.compare(f"{where}: pods labelled as entry", marked, {entry})


def test_a_service_leads_to_ports_that_its_pods_have() -> None:
    with rule("a Service is named as in compose and leads to ports that its pods listen to") as offenders:
        for case in CASES:
            for name, service in case.manifests.services.items():
                where, pods = f"{place(case)}, Service {name}", case.manifests.behind(name)
                offenders.compare(f"{where}: component", service["metadata"]["labels"][COMPONENT], pods.name)
                names = {"entry", *case.composed().services}
                offenders.require(name in names, where, name, f"one of {sorted(names)}")
                for port in service["spec"]["ports"]:
                    target = port.get("targetPort", port["port"])
                    offenders.compare(f"{where}: targetPort {target}", pods.ports.get(target, target), port["port"])
                    found = port["port"]
                    offenders.require(found in pods.ports.values(), where, found, f"one of {pods.ports}")


def test_a_called_service_has_the_port_that_callers_use() -> None:
    with rule("a URL in a setting leads to a Service with that port") as offenders:
        for where, case, pods, _ in workloads():
            for url in URL.finditer(" ".join(one.get("value", "") for one in pods.app.get("env", []))):
                service = case.manifests.services.get(url["host"], {"spec": {"ports": []}})
                ports = {port["port"] for port in service["spec"]["ports"]}
                offenders.require(int(url["port"]) in ports, where, url[0], f"a Service with one of {ports}")


def called(case: Case) -> set[tuple[str, str, int]]:
    """(caller, called, port) by the URLs in compose's settings; a called service is reached on all of its ports."""
    return {
        (name, url["host"], port)
        for name, service in services(case).items()
        for value in settings_there(case, service).values()
        for url in URL.finditer(value)
        for port in PORTS.get(url["host"], SERVED).values()
    }


@pytest.mark.parametrize("direction", ["egress", "ingress"])
def test_callers_reach_what_their_settings_name_and_nothing_else(direction: str) -> None:
    with rule(f"{direction} rules allow exactly the calls of compose's settings") as offenders:
        for case in CASES:
            allowed, expected = case.manifests.edges(direction), called(case)
            for edge in sorted(allowed ^ expected):
                what = "a rule without a call" if edge in allowed else "a call without a rule"
                offenders.add(f"{place(case)}, {direction}", f"{what}: {edge}", "a rule for each call")


def test_what_no_rule_allows_is_refused() -> None:
    refused = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    with rule("one NetworkPolicy refuses everything that no other allows") as offenders:
        for case in CASES:
            every_pod = [
                tree["spec"] for tree in case.manifests.of("NetworkPolicy") if tree["spec"]["podSelector"] == {}
            ]
            offenders.require(refused in every_pod, place(case), every_pod, refused)


def test_only_the_entry_is_reached_from_outside() -> None:
    with rule("from outside the namespace, only the entry's http and grpc are reached") as offenders:
        for case in CASES:
            for own, found in case.manifests.rules("ingress"):
                if any(peer.keys() != {"podSelector"} for peer in peers(found)) or not peers(found):
                    reached = {one.name for one in own}, {port["port"] for port in found["ports"]}
                    expected = {case.manifests.behind("entry").name}, set(SERVED)
                    offenders.compare(f"{place(case)}, ingress", reached, expected)


def test_beyond_the_stack_only_names_are_looked_up_and_secrets_created() -> None:
    dns = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]
    with rule("beyond its namespace a pod reaches DNS, and the job that creates secrets the API server") as offenders:
        for case in CASES:
            for own, found in case.manifests.rules("egress"):
                where = f"{place(case)}, egress of {[one.name for one in own]}"
                beyond = [peer for peer in peers(found) if peer.keys() != {"podSelector"}]
                ports = {port["port"] for port in found["ports"]}
                if not peers(found):
                    job = all(CREATES_SECRETS in one.labels for one in own)
                    offenders.require(
                        job, where, "a rule for every address", f"only for pods labelled {CREATES_SECRETS}"
                    )
                    offenders.compare(f"{where}: ports", ports, {53, 443, 6443})
                elif beyond:
                    offenders.compare(f"{where}: peers, ports", (beyond, ports), (dns, {53}))
