"""On a cluster: what the diagram does not show is refused, and a pod has no rights beyond those that it needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runtimes.base import Stack
from runtimes.cluster import Namespace, Pod
from runtimes.errors import CommandFailed
from tests.conftest import Start
from tests.drills.cluster import apply, namespace, run_in
from tests.support import eventually

pytestmark = pytest.mark.runs_on("kubernetes")

PREDICTORS = {"iris", "iris-rf", "iris-mlp", "petal-width"}
REDIS, ENTRY = "redis", "entry"
OUTSIDE = "kubernetes.default"  # the cluster's own API: of what is not in the stack, what every cluster has
PORTS = dict.fromkeys([*PREDICTORS, ENTRY], 8000) | {REDIS: 6379, OUTSIDE: 443}
REACHES = {"proxy": {*PREDICTORS, REDIS}, REDIS: set()} | {name: {REDIS} for name in PREDICTORS}


@pytest.fixture(scope="module")
def stack(start_cluster: Start) -> Stack:
    return start_cluster("parallel", "features")


@pytest.fixture(scope="module")
def space(stack: Stack) -> Namespace:
    return namespace(stack)


@pytest.fixture(scope="module")
def pods(space: Namespace) -> dict[str, Pod]:
    """Every pod of the stack by its service; it has one of each."""
    found = {pod.service: pod for pod in space.pods()}
    assert set(found) == set(REACHES)
    return found


def restricted(name: str, image: str, **changes: Any) -> dict[str, Any]:
    """A pod that the namespace allows and no policy knows; `changes` are to the rights of its container."""
    rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}} | changes
    app = {"name": "app", "image": image, "command": ["sleep", "infinity"], "securityContext": rights}
    user = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"automountServiceAccountToken": False, "securityContext": user, "containers": [app]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def stranger(space: Namespace, pods: dict[str, Pod], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pod without labels, out of an image that has a shell."""
    apply(space, tmp_path_factory.mktemp("stranger"), restricted("stranger", pods["proxy"].image))
    space.kubectl("wait", "--for=condition=Ready", "pod/stranger", "--timeout=60s", timeout_seconds=70)
    return "stranger"


def reached_from(space: Namespace, pod: str) -> set[str]:
    """To which services a pod gets a connection within two seconds."""
    tries = [f"(timeout 2 bash -c '</dev/tcp/{host}/{port}' 2>&- && echo {host}) &" for host, port in PORTS.items()]
    return set(run_in(space, pod, " ".join([*tries, "wait"])).split())


def in_each(space: Namespace, pods: Iterable[Pod], script: str) -> dict[str, str]:
    """What a script says in each of these pods, by service."""
    with ThreadPoolExecutor(4) as threads:
        told = {pod.service: threads.submit(run_in, space, pod.id, script) for pod in pods}
    return {service: one.result() for service, one in told.items()}


def test_a_pod_reaches_what_the_diagram_shows_and_nothing_else(space: Namespace, pods: dict[str, Pod]) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda pod: reached_from(space, pod.id), pods.values())
    assert dict(zip(pods, found, strict=True)) == REACHES


def test_a_pod_without_labels_reaches_nobody(space: Namespace, stranger: str) -> None:
    assert reached_from(space, stranger) == set()


def test_a_pod_that_may_call_anybody_is_let_in_by_the_entry_alone(
    space: Namespace, stranger: str, tmp_path: Path
) -> None:
    policy = {"podSelector": {"matchLabels": {"calls": "anybody"}}, "policyTypes": ["Egress"], "egress": [{}]}
    named = {"kind": "NetworkPolicy", "metadata": {"name": "calls-anybody"}}
    apply(space, tmp_path, {"apiVersion": "networking.k8s.io/v1", **named, "spec": policy})
    space.kubectl("label", "pod", stranger, "calls=anybody")
    try:
        eventually(lambda: OUTSIDE in reached_from(space, stranger), 20, "the policy is in force")
        assert reached_from(space, stranger) == {ENTRY, OUTSIDE}
    finally:
        space.kubectl("label", "pod", stranger, "calls-")
        space.kubectl("delete", "networkpolicy", "calls-anybody")
        eventually(lambda: not reached_from(space, stranger), 20, "the policy is no longer in force")


def test_no_pod_can_write_its_root(space: Namespace, pods: dict[str, Pod]) -> None:
    script = "grep ' / ' /proc/mounts; for one in /tried /etc/tried /tmp/tried; do touch $one && echo wrote $one; done"
    for said in in_each(space, pods.values(), script).values():
        assert re.search(r"^\S+ / \S+ ro\b", said, re.M)
        assert re.findall(r"^wrote (.*)", said, re.M) == ["/tmp/tried"]


def test_no_pod_has_privileges_or_can_gain_any(space: Namespace, pods: dict[str, Pod]) -> None:
    wanted = {"NoNewPrivs": "1", "Seccomp": "2", "Uid": "10001"}
    wanted |= dict.fromkeys(["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"], "0" * 16)
    for said in in_each(space, pods.values(), "cat /proc/self/status").values():
        status = dict(line.split()[:2] for line in said.replace(":", " ").splitlines() if len(line.split()) > 1)
        assert {name: status[name] for name in wanted} == wanted


def test_no_pod_holds_a_token_for_the_cluster(space: Namespace, pods: dict[str, Pod]) -> None:
    said = in_each(space, pods.values(), "cat /var/run/secrets/kubernetes.io/serviceaccount/token")
    assert all("No such file" in text for text in said.values())


DEMANDS: dict[str, dict[str, Any]] = {
    "privileged": {"privileged": True, "allowPrivilegeEscalation": True},
    "runAsUser": {"runAsUser": 0},
    "capabilities": {"capabilities": {"add": ["NET_ADMIN"]}},
}


@pytest.mark.parametrize("name", DEMANDS)
def test_a_pod_that_asks_for_more_rights_is_refused(
    space: Namespace, pods: dict[str, Pod], tmp_path: Path, name: str
) -> None:
    with pytest.raises(CommandFailed, match=rf'violates PodSecurity "restricted.*{name}'):
        apply(space, tmp_path, restricted("demanding", pods["proxy"].image, **DEMANDS[name]))
