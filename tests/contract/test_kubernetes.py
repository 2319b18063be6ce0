"""Every manifest under k8s/ renders, is valid, labelled and bounded, and its pods can do no more than they must."""

from __future__ import annotations

from collections.abc import Iterator

from common import RELEASE
from tests.contract.manifests import (
    CASES,
    COMPONENT,
    CREATES_SECRETS,
    STORE,
    Pods,
    Tree,
    renderings,
)
from tests.contract.schemas import VERSIONS, faults
from tests.contract.sources import rule

LONGEST_ROLLOUT_SECONDS = 120
VOLUMES = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
PROBES = {"startupProbe", "livenessProbe", "readinessProbe"}


def version_of(pods: Pods) -> str:
    """The tag of what a workload runs."""
    return str(pods.app["image"]).rpartition(":")[2]


def has_token(pods: Pods) -> bool:
    """Whether a token of the pod's service account is among its volumes."""
    projected = [one["projected"] for one in pods.spec.get("volumes", []) if "projected" in one]
    return any("serviceAccountToken" in source for one in projected for source in one["sources"])


def pods_everywhere() -> Iterator[tuple[str, Pods]]:
    for where, manifests in renderings():
        for pods in manifests.pods:
            yield f"{where}, {pods.kind} {pods.name}", pods


def workloads() -> Iterator[tuple[str, Pods]]:
    """What stays up: no Jobs."""
    for where, manifests in renderings():
        for pods in manifests.workloads.values():
            yield f"{where}, {pods.kind} {pods.name}", pods


def containers() -> Iterator[tuple[str, Tree]]:
    for where, pods in pods_everywhere():
        for container in pods.containers:
            yield f"{where}, container {container['name']}", container


def test_every_object_is_valid() -> None:
    with rule("the API server of every supported version accepts every object") as offenders:
        for version in VERSIONS:
            for where, manifests in renderings():
                for fault in faults(manifests.objects, version):
                    offenders.add(where, fault, f"an object of Kubernetes {version}")


def test_a_misspelt_field_is_found() -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "entry"}, "spec": {"selektor": {}}}
    (fault,) = faults([wrong], VERSIONS[0])
    assert "selektor" in fault


def test_every_object_is_labelled() -> None:
    with rule("labels say which pattern, instance and version an object belongs to") as offenders:
        for case in CASES:
            where, manifests = f"k8s/patterns/{case.name}", case.manifests
            expected = {
                "app.kubernetes.io/name": case.pattern.replace("_", "-"),
                "app.kubernetes.io/part-of": "serving-patterns",
            }
            labelled = [
                (f"{tree['kind']} {tree['metadata']['name']}", tree["metadata"]["labels"]) for tree in manifests.objects
            ]
            for name, labels in labelled:
                store = manifests.workloads[labels[STORE]] if STORE in labels else None
                version = version_of(store) if store else RELEASE
                offenders.compare(f"{where}, {name}: version", labels["app.kubernetes.io/version"], version)
            every = [*labelled, *((f"pods of {pods.name}", pods.labels) for pods in manifests.pods)]
            for name, labels in every:
                offenders.require(expected.items() <= labels.items(), f"{where}, {name}", labels, expected)
            instances = {labels["app.kubernetes.io/instance"] for _, labels in every}
            offenders.require(len(instances) == 1, where, f"instances {instances}", "one instance")


def test_pods_bear_the_name_and_the_version_of_their_workload() -> None:
    with rule("pods have their workload's name and version as labels") as offenders:
        for where, pods in workloads():
            offenders.compare(f"{where}: its label", pods.tree["metadata"]["labels"][COMPONENT], pods.name)
            offenders.compare(f"{where}: its pods' label", pods.labels[COMPONENT], pods.name)
            offenders.compare(
                f"{where}: selector", pods.tree["spec"]["selector"], {"matchLabels": {COMPONENT: pods.name}}
            )
            offenders.compare(f"{where}: version", pods.labels["app.kubernetes.io/version"], version_of(pods))


def test_an_image_has_a_version_and_is_not_pulled_again() -> None:
    with rule("an image is named with its version and pulled once") as offenders:
        for where, container in containers():
            image = container["image"]
            name, _, tag = image.rpartition(":")
            offenders.require(bool(name) and tag not in ("", "latest"), where, image, "an image with a version")
            offenders.compare(f"{where}: imagePullPolicy", container.get("imagePullPolicy"), "IfNotPresent")
            if name.startswith("serving-patterns/"):
                offenders.compare(f"{where}: version", tag, RELEASE)


def test_a_container_asks_for_what_it_needs_and_has_limits() -> None:
    with rule("requests and limits of cpu and memory; memory is not overcommitted") as offenders:
        for where, container in containers():
            resources = container.get("resources", {})
            wanted, limits = resources.get("requests", {}), resources.get("limits", {})
            offenders.compare(f"{where}: requests", set(wanted), {"cpu", "memory"})
            offenders.compare(f"{where}: limits", set(limits), {"cpu", "memory"})
            offenders.compare(f"{where}: requests.memory", wanted.get("memory"), limits.get("memory"))


def test_a_container_can_do_no_more_than_it_must() -> None:
    expected = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    with rule("a container has the least privileges") as offenders:
        for where, container in containers():
            context = container.get("securityContext", {})
            for key, value in expected.items():
                offenders.compare(f"{where}: {key}", context.get(key), value)
            offenders.compare(f"{where}: privileged", context.get("privileged", False), False)
            for port in container.get("ports", []):
                offenders.require("hostPort" not in port, where, port, "no hostPort")


def test_a_pod_meets_the_restricted_standard() -> None:
    with rule("pods meet the restricted Pod Security Standard") as offenders:
        for where, pods in pods_everywhere():
            context = pods.spec.get("securityContext", {})
            offenders.compare(f"{where}: runAsNonRoot", context.get("runAsNonRoot"), True)
            offenders.require(context.get("runAsUser", 0) > 0, f"{where}: runAsUser", context, "an id above 0")
            offenders.compare(f"{where}: seccompProfile", context.get("seccompProfile"), {"type": "RuntimeDefault"})
            for key in sorted(pods.spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}):
                offenders.add(where, key, "no namespace of the host")
            for volume in pods.spec.get("volumes", []):
                offenders.require(volume.keys() - {"name"} <= VOLUMES, where, f"volume {volume}", f"one of {VOLUMES}")


def test_a_pod_has_no_token_and_no_address_that_it_was_not_given() -> None:
    with rule("no service account token and no *_PORT variables, but for the job that creates secrets") as offenders:
        for where, pods in pods_everywhere():
            for key in ("automountServiceAccountToken", "enableServiceLinks"):
                offenders.compare(f"{where}: {key}", pods.spec.get(key), False)
            expected = pods.kind == "Job" and CREATES_SECRETS in pods.labels
            offenders.compare(f"{where}: has a projected token", has_token(pods), expected)


def test_a_token_serves_to_create_secrets_and_for_nothing_else() -> None:
    with rule("the only right that a service account has is to create secrets in its namespace") as offenders:
        for where, manifests in renderings():
            for role in manifests.of("Role", "ClusterRole"):
                for found in role["rules"]:
                    allowed = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}
                    offenders.compare(f"{where}, Role {role['metadata']['name']}", found, allowed)
            for tree in manifests.of("ClusterRole", "ClusterRoleBinding"):
                offenders.add(where, tree["kind"], "rights in the namespace only")


def test_what_a_pod_may_write_is_bounded() -> None:
    with rule("an emptyDir has a size limit") as offenders:
        for where, pods in pods_everywhere():
            for volume in pods.spec.get("volumes", []):
                if "emptyDir" in volume:
                    offenders.require("sizeLimit" in volume["emptyDir"], where, volume, "emptyDir.sizeLimit")


def test_every_workload_is_probed() -> None:
    with rule("a workload has all three probes; readiness is /readyz") as offenders:
        for where, pods in workloads():
            offenders.require(pods.app.keys() >= PROBES, where, sorted(pods.app.keys() & PROBES), sorted(PROBES))
            if "http" in pods.ports:
                asked = pods.app.get("readinessProbe", {}).get("httpGet")
                offenders.compare(f"{where}: readinessProbe.httpGet", asked, {"path": "/readyz", "port": "http"})


def test_a_rollout_stops_at_the_first_new_pod_that_is_not_ready() -> None:
    with rule("a rollout takes no pod away before its successor is ready, and fails in time") as offenders:
        for where, pods in workloads():
            if pods.kind == "Deployment":
                spec = pods.tree["spec"]
                update = spec.get("strategy", {}).get("rollingUpdate")
                offenders.compare(f"{where}: rollingUpdate", update, {"maxUnavailable": 0, "maxSurge": 1})
                seconds = spec.get("progressDeadlineSeconds", 600)
                where = f"{where}: progressDeadlineSeconds"
                offenders.require(
                    seconds <= LONGEST_ROLLOUT_SECONDS, where, seconds, f"at most {LONGEST_ROLLOUT_SECONDS}"
                )


def test_no_secret_is_written_down() -> None:
    with rule("secrets are created on the cluster") as offenders:
        for where, manifests in renderings():
            for secret in manifests.of("Secret"):
                offenders.add(where, f"Secret {secret['metadata']['name']}", "a Job that creates it")
