"""What a Kubernetes cluster tells about a stack's pods, and the few ways in which it is changed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runtimes import engine
from runtimes.errors import ClusterMissing, CommandFailed

COMPONENT = "app.kubernetes.io/component"
INSTANCE = "serving-patterns/instance"
OURS = "app.kubernetes.io/part-of=serving-patterns"
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
WORKLOADS = "deployments.apps,statefulsets.apps"
_HOPELESS = {"CrashLoopBackOff", "CreateContainerError", "RunContainerError"}
_NO_IMAGE = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}
Tree = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """One pod with its `app` container; `name` is the instance's, as in the other runtimes, `id` the pod's own.

    `exit_code` is how the container ended last, None when it never did.
    """

    id: str
    name: str
    service: str
    ready: bool
    running: bool
    leaving: bool
    restarts: int
    exit_code: int | None
    waiting: str
    why: str
    image: str
    started: datetime | None

    @property
    def lacks_image(self) -> bool:
        return self.waiting in _NO_IMAGE

    @property
    def died(self) -> bool:
        """Whether its process ended or could not be started; waiting for a Secret is neither."""
        return self.restarts > 0 or self.waiting in _HOPELESS


@dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet: `wanted` replicas by its manifest, `scaled` to so many now."""

    kind: str
    name: str
    wanted: int
    scaled: int
    settled: bool

    def instances(self) -> list[str]:
        """The names of its replicas."""
        return instance_names(self.name, self.wanted)


class Namespace:
    """One namespace of the cluster that kubectl's configuration names."""

    def __init__(self, name: str) -> None:
        self.name = name

    def kubectl(self, *words: str, timeout_seconds: float = 60) -> str:
        """Standard output of kubectl in this namespace. Raises CommandFailed, EngineMissing, ClusterMissing."""
        return kubectl("--namespace", self.name, *words, timeout_seconds=timeout_seconds)

    def get(self, kinds: str, *words: str) -> list[Tree]:
        """The objects of these kinds that belong to the stack; none when there is no namespace."""
        items: list[Tree] = json.loads(self.kubectl("get", kinds, "--output", "json", *words))["items"]
        return items

    def exists(self) -> bool:
        """Whether it is there to stay; one that is being deleted is not."""
        phase = ("--output", "jsonpath={.status.phase}")
        return kubectl("get", "namespace", self.name, "--ignore-not-found", *phase) == "Active"

    def workloads(self) -> dict[str, Workload]:
        """Deployments and StatefulSets by name."""
        found = [_workload(tree) for tree in self.get(WORKLOADS)]
        return {one.name: one for one in found}

    def pods(self) -> list[Pod]:
        """Pods of Deployments and StatefulSets, by instance; several for a moment while one takes another's place."""
        trees = [tree for tree in self.get("pods", "--selector", OURS) if _owner(tree) in ("ReplicaSet", "StatefulSet")]
        return sorted((_pod(tree) for tree in trees), key=lambda pod: (pod.name, pod.leaving, pod.id))

    def ports(self) -> dict[str, dict[int, int]]:
        """For each Service that is open on the nodes: its ports, and the nodes' ports that lead there."""
        return {
            tree["metadata"]["name"]: {port["port"]: port["nodePort"] for port in tree["spec"]["ports"]}
            for tree in self.get("services")
            if tree["spec"]["type"] == "NodePort"
        }

    def scale(self, workload: Workload, replicas: int) -> None:
        self.kubectl("scale", f"{workload.kind}/{workload.name}", f"--replicas={replicas}")

    def signal(self, pod: Pod, signal: str) -> None:
        """Sends a signal to every process of the pod, which shares one process namespace; does not wait."""
        command = ["exec", pod.id, "--container", "app", "--", "sh", "-c", f"kill -{signal} -1"]
        try:
            self.kubectl(*command)
        except CommandFailed:
            if signal != "KILL":  # which ends the shell with the container
                raise

    def name_replicas(self, workloads: dict[str, Workload], pods: list[Pod]) -> None:
        """Gives each pod of a replicated service the name of its Service; pods that stay keep theirs."""
        for workload in (one for one in workloads.values() if one.wanted > 1):
            mine = [pod for pod in pods if pod.service == workload.name and not pod.leaving]
            free = [name for name in workload.instances() if name not in {pod.name for pod in mine}]
            for pod, name in zip([one for one in mine if one.name == workload.name], free, strict=False):
                self.kubectl("label", "pod", pod.id, f"{INSTANCE}={name}")

    def memory(self) -> dict[str, int]:
        """Bytes that each pod uses, by its own name; empty where the cluster does not measure."""
        try:
            tree = kubectl("get", "--raw", f"/apis/metrics.k8s.io/v1beta1/namespaces/{self.name}/pods")
        except CommandFailed:
            return {}
        return {
            one["metadata"]["name"]: sum(_bytes(part["usage"]["memory"]) for part in one["containers"])
            for one in json.loads(tree)["items"]
        }

    def last_lines(self, pod: Pod, count: int = 20) -> str:
        """The last lines that the pod wrote, before it was restarted if it was."""
        for earlier in (["--previous"], []) if pod.restarts else ([],):
            try:
                lines = self.kubectl("logs", pod.id, "--container", "app", f"--tail={count}", *earlier).strip()
            except CommandFailed:
                continue  # a container that has just gone
            if lines and not lines.startswith("unable to retrieve"):
                return lines
        return pod.why

    def remove(self) -> None:
        """Deletes the namespace and everything in it; pods at once, the rest as soon as the cluster gets to it."""
        kubectl("delete", "namespace", self.name, "--wait=false")
        self.kubectl("delete", "pods", "--all", "--force", "--grace-period=0")

    def wait_removed(self) -> None:
        """Returns when nothing is left of a namespace of this name."""
        kubectl("wait", "--for=delete", f"namespace/{self.name}", "--timeout=120s", timeout_seconds=130)


def kubectl(*words: str, timeout_seconds: float = 60) -> str:
    """Standard output of kubectl. Raises CommandFailed, EngineMissing, ClusterMissing."""
    try:
        return engine.run(["kubectl", *words], timeout_seconds=timeout_seconds)
    except CommandFailed as error:
        if any(sign in str(error) for sign in ("was refused", "Unable to connect", "current-context", "no such host")):
            raise ClusterMissing(str(error)) from None
        raise


def node_addresses() -> list[str]:
    """Addresses at which this host may reach the nodes' ports, likely ones first."""
    nodes = json.loads(kubectl("get", "nodes", "--output", "json"))["items"]
    given = [one["address"] for node in nodes for one in node["status"]["addresses"] if one["type"].endswith("IP")]
    return ["127.0.0.1", *given]


def instance_names(service: str, replicas: int) -> list[str]:
    """The names of a service's replicas: its own, or `<service>-<number>` when there are several."""
    return [service] if replicas <= 1 else [f"{service}-{number}" for number in range(1, replicas + 1)]


def _workload(tree: Tree) -> Workload:
    status, scaled = tree["status"], tree["spec"]["replicas"]
    applied = json.loads(tree["metadata"].get("annotations", {}).get(APPLIED, "{}"))
    return Workload(
        kind=tree["kind"].lower(),
        name=tree["metadata"]["name"],
        wanted=applied.get("spec", {}).get("replicas", 1),
        scaled=scaled,
        settled=status.get("observedGeneration", 0) >= tree["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == status.get("readyReplicas", 0) == status.get("replicas", 0) == scaled,
    )


def _pod(tree: Tree) -> Pod:
    labels = tree["metadata"]["labels"]
    app: Tree = next((one for one in tree["status"].get("containerStatuses", []) if one["name"] == "app"), {})
    state, last = app.get("state", {}), app.get("lastState", {})
    waiting = state.get("waiting", {})
    ended = state.get("terminated") or last.get("terminated")
    started = state.get("running", {}).get("startedAt")
    return Pod(
        id=tree["metadata"]["name"],
        name=labels.get(INSTANCE, labels[COMPONENT]),
        service=labels[COMPONENT],
        ready=bool(app.get("ready")) and "deletionTimestamp" not in tree["metadata"],
        running="running" in state,
        leaving="deletionTimestamp" in tree["metadata"],
        restarts=app.get("restartCount", 0),
        exit_code=ended["exitCode"] if ended else None,
        waiting=waiting.get("reason", ""),
        why=waiting.get("message", "") or _unscheduled(tree),
        image=next(one["image"] for one in tree["spec"]["containers"] if one["name"] == "app"),
        started=datetime.fromisoformat(started) if started else None,
    )


def _owner(tree: Tree) -> str:
    return str(tree["metadata"].get("ownerReferences", [{"kind": ""}])[0]["kind"])


def _unscheduled(tree: Tree) -> str:
    conditions = tree["status"].get("conditions", [])
    return next((str(one["message"]) for one in conditions if one["status"] == "False" and "message" in one), "")


def _bytes(quantity: str) -> int:
    """A quantity of memory as metrics-server writes it: `12345Ki`."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(quantity[:-2]) * units[quantity[-2:]] if quantity[-2:] in units else int(quantity)
