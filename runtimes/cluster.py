"""Reads the pods and workloads of a stack from a Kubernetes cluster with kubectl, and changes them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_settings import BaseSettings

from runtimes import engine
from runtimes.errors import ClusterUnavailable, CommandFailed

COMPONENT = "app.kubernetes.io/component"
INSTANCE = "serving-patterns/instance"
STACK_SELECTOR = "app.kubernetes.io/part-of=serving-patterns"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
WORKLOADS = "deployments.apps,statefulsets.apps"
_CRASH_REASONS = {"CrashLoopBackOff", "CreateContainerError", "RunContainerError"}
_IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}
# prints the body of a 503 of /readyz, and nothing else
_ASK = """\
from http.client import HTTPConnection
asked = HTTPConnection('127.0.0.1', 8000, timeout=2)
asked.request('GET', '/readyz')
answer = asked.getresponse()
if answer.status == 503:
    print(answer.read(100000).decode())
"""
Tree = dict[str, Any]


class KubernetesSettings(BaseSettings):
    """Settings from the environment: how to load images, the prefix of their names, and the address of a node."""

    image_load_command: str = ""
    image_prefix: str = ""
    node_address: str = ""


@dataclass(frozen=True)
class Pod:
    """A pod and the state of its container `app`.

    `name` is the name of the instance, as in the other runtimes; `id` is the name of the pod. `exit_code` is the last
    exit code of the container, None if it never ended. `waiting` is the reason why the container does not run, such as
    ImagePullBackOff; `message` is the text that explains it.
    """

    id: str
    name: str
    service: str
    ready: bool
    running: bool
    terminating: bool
    restarts: int
    exit_code: int | None
    waiting: str
    message: str
    image: str
    started: datetime | None

    @property
    def image_missing(self) -> bool:
        return self.waiting in _IMAGE_REASONS

    @property
    def crashed(self) -> bool:
        """Whether its process ended or could not be started. A pod that waits for a Secret has not crashed."""
        return self.restarts > 0 or self.waiting in _CRASH_REASONS


@dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet.

    `replicas` is the number in its manifest, `current_replicas` the number in its spec now. `rolled_out` tells whether
    all replicas are updated and ready.
    """

    kind: str
    name: str
    replicas: int
    current_replicas: int
    rolled_out: bool

    def instances(self) -> list[str]:
        """The names of its instances."""
        return instance_names(self.name, self.replicas)


class Namespace:
    """A namespace of the cluster in kubectl's current context."""

    def __init__(self, name: str) -> None:
        self.name = name

    def kubectl(self, *words: str, timeout_seconds: float = 60) -> str:
        """Run kubectl in this namespace, as the function `kubectl` does."""
        return kubectl("--namespace", self.name, *words, timeout_seconds=timeout_seconds)

    def get(self, kinds: str, *words: str) -> list[Tree]:
        """The objects of these kinds; empty if the namespace does not exist."""
        items: list[Tree] = json.loads(self.kubectl("get", kinds, "--output", "json", *words))["items"]
        return items

    def exists(self) -> bool:
        """Whether the namespace exists and is not being deleted."""
        phase = ("--output", "jsonpath={.status.phase}")
        return kubectl("get", "namespace", self.name, "--ignore-not-found", *phase) == "Active"

    def workloads(self) -> dict[str, Workload]:
        """Deployments and StatefulSets by name."""
        found = [_workload(tree) for tree in self.get(WORKLOADS)]
        return {one.name: one for one in found}

    def pods(self) -> list[Pod]:
        """The pods of Deployments and StatefulSets, by instance. During a rollout an instance may have several pods."""
        trees = [
            tree
            for tree in self.get("pods", "--selector", STACK_SELECTOR)
            if _owner(tree) in ("ReplicaSet", "StatefulSet")
        ]
        return sorted((_pod(tree) for tree in trees), key=lambda pod: (pod.name, pod.terminating, pod.id))

    def ports(self) -> dict[str, dict[int, int]]:
        """For each Service of type NodePort: the node port of each of its ports."""
        return {
            tree["metadata"]["name"]: {port["port"]: port["nodePort"] for port in tree["spec"]["ports"]}
            for tree in self.get("services")
            if tree["spec"]["type"] == "NodePort"
        }

    def scale(self, workload: Workload, replicas: int) -> None:
        self.kubectl("scale", f"{workload.kind}/{workload.name}", f"--replicas={replicas}")

    def signal(self, pod: Pod, signal: str) -> None:
        """Send a signal to every process of the pod, which has shareProcessNamespace. Does not wait."""
        command = ["exec", pod.id, "--container", "app", "--", "sh", "-c", f"kill -{signal} -1"]
        try:
            self.kubectl(*command)
        except CommandFailed:
            if signal != "KILL":  # KILL also ends the shell that sends it
                raise

    def name_replicas(self, workloads: dict[str, Workload], pods: list[Pod]) -> None:
        """Label each pod of a replicated service with an instance name, so that a Service selects it alone."""
        for workload in (one for one in workloads.values() if one.replicas > 1):
            mine = [pod for pod in pods if pod.service == workload.name and not pod.terminating]
            free = [name for name in workload.instances() if name not in {pod.name for pod in mine}]
            for pod, name in zip([one for one in mine if one.name == workload.name], free, strict=False):
                self.kubectl("label", "pod", pod.id, f"{INSTANCE}={name}")

    def memory(self) -> dict[str, int]:
        """Memory of each pod in bytes, by pod name; empty if the cluster has no metrics-server."""
        try:
            tree = kubectl("get", "--raw", f"/apis/metrics.k8s.io/v1beta1/namespaces/{self.name}/pods")
        except CommandFailed:
            return {}
        return {
            one["metadata"]["name"]: sum(_bytes(part["usage"]["memory"]) for part in one["containers"])
            for one in json.loads(tree)["items"]
        }

    def unready_answer(self, pod: Pod) -> str:
        """What the pod's container answers to GET /readyz; empty if it cannot be asked, as in an image without Python.

        It is asked in the container, because network policies may keep others from asking it.
        """
        try:
            return self.kubectl("exec", pod.id, "--container", "app", "--", "python", "-SIc", _ASK, timeout_seconds=10)
        except CommandFailed:
            return ""

    def last_lines(self, pod: Pod, count: int = 20) -> str:
        """The last log lines of the pod; those before the restart if it was restarted."""
        for earlier in (["--previous"], []) if pod.restarts else ([],):
            try:
                lines = self.kubectl("logs", pod.id, "--container", "app", f"--tail={count}", *earlier).strip()
            except CommandFailed:
                continue  # the container has just ended
            if lines and not lines.startswith("unable to retrieve"):
                return lines
        return pod.message

    def log_lines(self, *options: str, names: Mapping[str, str]) -> Iterator[str]:
        """The log of the pods that kubectl's options select, as `<name> | <line>`; `names` are by pod name."""
        command = ["kubectl", "--namespace", self.name, "logs", "--prefix", "--tail=-1", "--container", "app", *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                for line in process.stdout or []:
                    source, _, text = line.rstrip("\n").partition("] ")  # [pod/<name>/app] text
                    if (pod := source.removeprefix("[pod/").removesuffix("/app")) in names:
                        yield f"{names[pod]} | {text}"
            finally:
                process.terminate()

    def remove(self) -> None:
        """Delete the namespace. Pods are deleted at once, the rest in the background."""
        kubectl("delete", "namespace", self.name, "--wait=false")
        self.kubectl("delete", "pods", "--all", "--force", "--grace-period=0")

    def wait_removed(self) -> None:
        """Wait until the namespace is deleted."""
        kubectl("wait", "--for=delete", f"namespace/{self.name}", "--timeout=120s", timeout_seconds=130)


def kubectl(*words: str, timeout_seconds: float = 60) -> str:
    """Run kubectl. Returns standard output. Raises CommandFailed, EngineUnavailable, ClusterUnavailable."""
    try:
        return engine.run(["kubectl", *words], timeout_seconds=timeout_seconds)
    except CommandFailed as error:
        if any(sign in str(error) for sign in ("was refused", "Unable to connect", "current-context", "no such host")):
            raise ClusterUnavailable(str(error)) from None
        raise


def node_addresses() -> list[str]:
    """Addresses at which this host may reach the node ports: 127.0.0.1, then the IPs of the nodes."""
    nodes = json.loads(kubectl("get", "nodes", "--output", "json"))["items"]
    addresses = [one["address"] for node in nodes for one in node["status"]["addresses"] if one["type"].endswith("IP")]
    return ["127.0.0.1", *addresses]


def instance_names(service: str, replicas: int) -> list[str]:
    """The names of a service's instances: the service's own, or `<service>-<number>` if there are several."""
    return [service] if replicas <= 1 else [f"{service}-{number}" for number in range(1, replicas + 1)]


def _workload(tree: Tree) -> Workload:
    status, scaled = tree["status"], tree["spec"]["replicas"]
    applied = json.loads(tree["metadata"].get("annotations", {}).get(LAST_APPLIED, "{}"))
    return Workload(
        kind=tree["kind"].lower(),
        name=tree["metadata"]["name"],
        replicas=applied.get("spec", {}).get("replicas", 1),
        current_replicas=scaled,
        rolled_out=status.get("observedGeneration", 0) >= tree["metadata"]["generation"]
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
        terminating="deletionTimestamp" in tree["metadata"],
        restarts=app.get("restartCount", 0),
        exit_code=ended["exitCode"] if ended else None,
        waiting=waiting.get("reason", ""),
        message=waiting.get("message", "") or _unscheduled(tree),
        image=next(one["image"] for one in tree["spec"]["containers"] if one["name"] == "app"),
        started=datetime.fromisoformat(started) if started else None,
    )


def _owner(tree: Tree) -> str:
    return str(tree["metadata"].get("ownerReferences", [{"kind": ""}])[0]["kind"])


def _unscheduled(tree: Tree) -> str:
    conditions = tree["status"].get("conditions", [])
    return next((str(one["message"]) for one in conditions if one["status"] == "False" and "message" in one), "")


def _bytes(quantity: str) -> int:
    """Bytes of a memory quantity as metrics-server writes it: `12345Ki`."""
    units = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    return int(quantity[:-2]) * units[quantity[-2:]] if quantity[-2:] in units else int(quantity)
