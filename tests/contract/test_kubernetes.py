"""Every manifest under k8s/ renders, is valid, labelled and bounded, and its pods can do no more than they must."""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from common import RELEASE
from tests.manifests import (
    COMPONENT,
    CREATES_SECRETS,
    KUBERNETES,
    STORE,
    Case,
    Manifests,
    Pods,
    Tree,
    every_case,
    every_rendering,
    render,
)

VERSIONS = ["1.32", "1.33", "1.34"]
# their schemas come with what brings them, not with Kubernetes
OF_OTHERS = {"ServiceMonitor", "ScaledObject", "TriggerAuthentication"}
KUSTOMIZATIONS = sorted(path.parent for path in KUBERNETES.rglob("kustomization.yaml"))
ADDED = [path for path in KUSTOMIZATIONS if "kind: Component" in (path / "kustomization.yaml").read_text()]
PAGES = sorted(KUBERNETES.rglob("README.md"))
VOLUMES = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}

every_version = pytest.mark.parametrize("version", VERSIONS)
every_addition = pytest.mark.parametrize("folder", ADDED, ids=lambda path: path.name)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(KUBERNETES).as_posix())

WORKER = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: worker
  labels: {app.kubernetes.io/component: worker}
  annotations:
    serving-patterns/queue-address: "redis.some-namespace.svc:6379"
    serving-patterns/queue-stream: some-jobs
    serving-patterns/queue-group: some-workers
spec:
  selector: {matchLabels: {app.kubernetes.io/component: worker}}
  template:
    metadata: {labels: {app.kubernetes.io/component: worker}}
    spec: {containers: [{name: app, image: "serving-patterns/api:0.1.0"}]}
"""


def faults(objects: list[Tree], version: str) -> list[str]:
    """What the schemas of a Kubernetes version find wrong, unknown fields included."""
    found = [_fault(json.dumps(tree, sort_keys=True), version) for tree in objects if tree["kind"] not in OF_OTHERS]
    return [fault for fault in found if fault]


@cache
def _fault(text: str, version: str) -> str:
    """What is wrong with one object, which many patterns may have; empty when nothing is."""
    tree = json.loads(text)
    try:
        kubernetes_validate.validate(tree, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{tree['kind']} {tree['metadata']['name']}: {'.'.join(map(str, error.path))}: {error.message}"
    return ""


def added_to(folder: Path, component: Path, *resources: str) -> Manifests:
    """web_single, or `resources`, with a component on top."""
    above = os.path.relpath(KUBERNETES.resolve(), folder.resolve())
    kustomization = {
        "resources": resources or [f"{above}/patterns/web_single"],
        "components": [f"{above}/{component.relative_to(KUBERNETES).as_posix()}"],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return render(folder)


def the(manifests: Manifests, kind: str) -> Tree:
    (found,) = manifests.of(kind)
    return found


def version_of(pods: Pods) -> str:
    """The tag of what a workload runs."""
    return str(pods.app["image"]).rpartition(":")[2]


def has_token(pods: Pods) -> bool:
    """Whether a token of the pod's service account is among its volumes."""
    projected = [one["projected"] for one in pods.spec.get("volumes", []) if "projected" in one]
    return any("serviceAccountToken" in source for one in projected for source in one["sources"])


@every_version
@every_rendering
def test_every_object_is_valid(folder: Path, version: str) -> None:
    assert faults(render(folder).objects, version) == []


def test_a_misspelt_field_is_found() -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "entry"}, "spec": {"selektor": {}}}
    (fault,) = faults([wrong], VERSIONS[0])
    assert "selektor" in fault


@every_case
def test_every_object_is_labelled(case: Case) -> None:
    manifests = case.manifests
    ours = {"app.kubernetes.io/name": case.pattern.replace("_", "-"), "app.kubernetes.io/part-of": "serving-patterns"}
    bearers = [tree["metadata"]["labels"] for tree in manifests.objects]
    templates = [pods.labels for pods in manifests.pods]
    assert [labels for labels in [*bearers, *templates] if not ours.items() <= labels.items()] == []
    assert len({labels["app.kubernetes.io/instance"] for labels in [*bearers, *templates]}) == 1
    for labels in bearers:
        store = manifests.workloads[labels[STORE]] if STORE in labels else None
        assert labels["app.kubernetes.io/version"] == (version_of(store) if store else RELEASE)


@every_rendering
def test_pods_bear_the_name_and_the_version_of_their_workload(folder: Path) -> None:
    for pods in render(folder).workloads.values():
        assert pods.tree["metadata"]["labels"][COMPONENT] == pods.labels[COMPONENT] == pods.name
        assert pods.tree["spec"]["selector"] == {"matchLabels": {COMPONENT: pods.name}}
        assert pods.labels["app.kubernetes.io/version"] == version_of(pods)


@every_rendering
def test_an_image_has_a_version_and_is_not_pulled_again(folder: Path) -> None:
    for container in (one for pods in render(folder).pods for one in pods.containers):
        name, _, tag = container["image"].rpartition(":")
        assert name
        assert tag not in ("", "latest")
        assert container["imagePullPolicy"] == "IfNotPresent"
        assert tag == RELEASE or not name.startswith("serving-patterns/")


@every_rendering
def test_a_container_asks_for_what_it_needs_and_has_limits(folder: Path) -> None:
    for container in (one for pods in render(folder).pods for one in pods.containers):
        resources = container["resources"]
        assert resources["requests"].keys() == resources["limits"].keys() == {"cpu", "memory"}
        assert resources["requests"]["memory"] == resources["limits"]["memory"]


@every_rendering
def test_a_container_can_do_no_more_than_it_must(folder: Path) -> None:
    for container in (one for pods in render(folder).pods for one in pods.containers):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context.get("privileged", False) is False
        assert not any("hostPort" in port for port in container.get("ports", []))


@every_rendering
def test_a_pod_meets_the_restricted_standard(folder: Path) -> None:
    for pods in render(folder).pods:
        context = pods.spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pods.spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert all(volume.keys() - {"name"} <= VOLUMES for volume in pods.spec.get("volumes", []))


@every_rendering
def test_a_pod_has_no_token_and_no_address_that_it_was_not_given(folder: Path) -> None:
    for pods in render(folder).pods:
        assert pods.spec["automountServiceAccountToken"] is False
        assert pods.spec["enableServiceLinks"] is False
        assert has_token(pods) == (pods.kind == "Job" and CREATES_SECRETS in pods.labels)


@every_rendering
def test_a_token_serves_to_create_secrets_and_for_nothing_else(folder: Path) -> None:
    rules = [rule for role in render(folder).of("Role", "ClusterRole") for rule in role["rules"]]
    assert all(rule == {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]} for rule in rules)
    assert render(folder).of("ClusterRole", "ClusterRoleBinding") == []


@every_rendering
def test_what_a_pod_may_write_is_bounded(folder: Path) -> None:
    for pods in render(folder).pods:
        for volume in (one["emptyDir"] for one in pods.spec.get("volumes", []) if "emptyDir" in one):
            assert "sizeLimit" in volume


@every_rendering
def test_every_workload_is_probed(folder: Path) -> None:
    for pods in render(folder).workloads.values():
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= pods.app.keys(), pods.name
        if "http" in pods.ports:
            assert pods.app["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


@every_rendering
def test_a_rollout_stops_at_the_first_new_pod_that_is_not_ready(folder: Path) -> None:
    for pods in (one for one in render(folder).workloads.values() if one.kind == "Deployment"):
        assert pods.tree["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        assert pods.tree["spec"]["progressDeadlineSeconds"] <= 120


@every_rendering
def test_no_secret_is_written_down(folder: Path) -> None:
    assert render(folder).of("Secret") == []


# --- what is added to a pattern


@pytest.mark.parametrize("component", ["autoscaling", "monitoring"])
def test_a_component_goes_on_top_of_a_pattern(component: str, tmp_path: Path) -> None:
    manifests = added_to(tmp_path, KUBERNETES / "components" / component)
    assert [fault for version in VERSIONS for fault in faults(manifests.objects, version)] == []


@every_addition
def test_a_component_has_its_page(folder: Path) -> None:
    page = folder / "README.md"
    assert page.exists()
    assert page.read_text().startswith(f"# {folder.name}\n")
    assert len(page.read_text().splitlines()) <= 60


def test_the_entry_is_what_grows_with_its_load(tmp_path: Path) -> None:
    manifests = added_to(tmp_path, KUBERNETES / "components" / "autoscaling")
    spec = the(manifests, "HorizontalPodAutoscaler")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 3)


def test_monitoring_reaches_every_service_that_tells_its_metrics(tmp_path: Path) -> None:
    manifests = added_to(tmp_path, KUBERNETES / "components" / "monitoring")
    spec: Any = the(manifests, "ServiceMonitor")["spec"]
    (endpoint,) = spec["endpoints"]
    assert endpoint["path"] == "/metrics"
    assert endpoint["port"] in [port["name"] for port in manifests.services["entry"]["spec"]["ports"]]


def test_workers_grow_with_the_queue_that_they_name(tmp_path: Path) -> None:
    (tmp_path / "worker.yaml").write_text(WORKER)
    manifests = added_to(tmp_path, KUBERNETES / "components" / "queue-scaling", "worker.yaml")
    spec: Any = the(manifests, "ScaledObject")["spec"]
    (trigger,) = spec["triggers"]
    assert spec["scaleTargetRef"] == {"name": "worker"}
    assert trigger["type"] == "redis-streams"
    assert trigger["metadata"]["address"] == "redis.some-namespace.svc:6379"
    assert trigger["metadata"]["stream"] == "some-jobs"
    assert trigger["metadata"]["consumerGroup"] == "some-workers"


# --- pages


@every_page
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


@every_page
def test_manifests_in_a_page_are_valid(page: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.M | re.S)
    trees = [tree for block in blocks for tree in yaml.safe_load_all(block)]
    objects = [tree for tree in trees if tree.get("kind") not in (None, "Kustomization")]
    assert faults(objects, VERSIONS[-1]) == []


def test_the_table_names_every_component() -> None:
    table = (KUBERNETES / "README.md").read_text()
    for folder in (path for path in ADDED if path.parent.name == "components"):
        assert f"](components/{folder.name}/)" in table or f"](components/{folder.name})" in table, folder.name
