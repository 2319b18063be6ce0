"""The Kubernetes runtime: applies the pattern's manifests in a separate namespace, with kubectl."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import yaml

from runtimes import api_keys, cluster, composefile, engine, images, overlay, probes
from runtimes.base import (
    GRPC,
    HTTP,
    ServiceStatus,
    Stack,
    StackOptions,
    print_progress,
    with_free_ports,
)
from runtimes.cluster import COMPONENT, KubernetesSettings, Namespace, Pod, Workload
from runtimes.compose import ComposeStack
from runtimes.entry_forward import EntryForward
from runtimes.errors import (
    NodePortUnreachable,
    StackError,
    StackNotReady,
    StackNotRunning,
    UnknownName,
)
from runtimes.load_failures import LoadWatch
from runtimes.rollout import require_progress

_POLL_SECONDS = 0.5


class KubernetesStack(Stack):
    """A stack of pods. Its namespace is `sp-<name>`.

    The entry is reached through its Service, which has only ready pods as endpoints. A service given by name is reached
    whether it is ready or not.
    """

    runtime = "kubernetes"

    def __init__(self, options: StackOptions) -> None:
        super().__init__(options)
        self._namespace = Namespace(f"sp-{self.name}")
        self._settings = KubernetesSettings()
        name = ".".join(filter(None, (options.pattern, options.variant)))
        self._forward = EntryForward(self._namespace.name, options.directory.parent.resolve())
        self._manifests = options.directory.parent / "k8s" / "patterns" / name

    def up(self, timeout_seconds: float = 120) -> str:
        self.options.compose_file()
        self.replace()
        self.options = with_free_ports(self.options)
        images_in_cluster = self._load_images()
        self._namespace.wait_removed()
        deadline = time.monotonic() + timeout_seconds
        try:
            self._apply(images_in_cluster)
            self._wait_rolled_out(deadline, timeout_seconds)
            self._wait_entry_ready(deadline, timeout_seconds)
            self._wait_accepting_connections(deadline, timeout_seconds)
            self._forward.start(self.options, self._host, self._open_ports[overlay.ENTRY])
        except BaseException:
            self.down()
            raise
        print_progress(f"{self.name} is ready, with {', '.join(pod.name for pod in self._namespace.pods())}")
        return self.url()

    def build(self) -> None:
        self._load_images()

    def down(self) -> None:
        self._forward.stop()
        if self._namespace.exists():
            self._namespace.remove()
        for cached in ("_open_ports", "_host"):
            self.__dict__.pop(cached, None)

    def is_up(self) -> bool:
        return self._namespace.exists()

    def replicas(self, service: str | None = None) -> list[str]:
        if service is None:
            return [f"http://{self._forward.address(HTTP) or self._entry(HTTP)}"]
        names = [pod.name for pod in self._running(service)] or self._instances(service)
        return [f"http://{self._host}:{self._first_port(name)}" for name in names]

    def grpc(self, service: str | None = None) -> str:
        if service is None:
            return self._forward.address(GRPC) or self._entry(GRPC)
        return f"{self._host}:{self._open_ports[f'direct-{self._instances(service)[0]}'][GRPC]}"

    def stop(self, service: str) -> None:
        self._scale_down(service, lambda pods: None)

    def signal(self, service: str, signum: int) -> None:
        for pod in self._running(service):
            self._namespace.signal(pod, signal.Signals(signum).name.removeprefix("SIG"))

    def kill(self, service: str) -> None:
        def end(pods: list[Pod]) -> None:
            for pod in pods:
                self._namespace.signal(pod, "KILL")

        self._scale_down(service, end, "--force", "--grace-period=0")

    def start(self, service: str, timeout_seconds: float = 60, wait: bool = True) -> None:
        workload = self._workload(service)
        ended = [f"pod/{pod.id}" for pod in self.pods(service) if pod.exit_code is not None and not pod.terminating]
        if ended:  # a new pod starts at once; a crashed one would wait for its restart back-off
            self._namespace.kubectl("delete", *ended, "--force", "--grace-period=0")
        self._namespace.scale(workload, workload.replicas)
        if wait:
            deadline = time.monotonic() + timeout_seconds
            self._wait_rolled_out(deadline, timeout_seconds, workload.name)
            self._wait_accepting_connections(deadline, timeout_seconds, service)

    def freeze(self, service: str) -> None:
        self.signal(service, signal.SIGSTOP)

    def thaw(self, service: str) -> None:
        self.signal(service, signal.SIGCONT)

    def logs(self, service: str | None = None, follow: bool = False) -> Iterator[str]:
        pods = self.pods(service)
        for pod in (one for one in pods if one.restarts):
            yield from self._namespace.log_lines(pod.id, "--previous", names={pod.id: pod.name})
        chosen = f"{COMPONENT} in ({','.join(sorted({pod.service for pod in pods}))})"
        options = ["--selector", chosen, "--max-log-requests=50", *(["--follow"] if follow else [])]
        yield from self._namespace.log_lines(*options, names={pod.id: pod.name for pod in pods})

    def status(self) -> list[ServiceStatus]:
        if not self.is_up():
            return []
        memory, pods = self._namespace.memory(), self._namespace.pods()
        wanted = [name for workload in self._namespace.workloads().values() for name in workload.instances()]
        gone = [name for name in wanted if name not in {pod.name for pod in pods}]
        stopped = [ServiceStatus(name, "exited", None, None, None) for name in gone]
        return [*(self._status(pod, memory.get(pod.id)) for pod in pods), *stopped]

    def pods(self, service: str | None = None) -> list[Pod]:
        """The pods of a service or of one replica; None: all pods. Includes terminating pods."""
        return [pod for pod in self._all() if service in (None, pod.service, pod.name)]

    def _load_images(self) -> dict[str, str]:
        """Build the images, tag them by content and load them into the cluster.

        Returns the name in the cluster of each image in the manifests. Without a container engine it returns {}: the
        cluster must then be able to pull the images by the names in the manifests.
        """
        if engine.unavailable_reason():
            return {}
        ComposeStack(self.options).build()
        names = overlay.images_of(self._rendered)
        return images.load_images(names, self._settings.image_prefix, self._settings.image_load_command)

    @cached_property
    def _rendered(self) -> list[overlay.Tree]:
        if not self._manifests.is_dir():
            raise StackError(
                f"k8s/patterns/{self._manifests.name} does not exist; use RUNTIME=local or RUNTIME=compose"
            )
        return list(yaml.safe_load_all(cluster.kubectl("kustomize", str(self._manifests))))

    def _apply(self, images_in_cluster: dict[str, str]) -> None:
        keys = api_keys.given(self.options.compose_file())
        with tempfile.TemporaryDirectory(prefix="serving-patterns-") as folder:
            names = (Path(folder), self._manifests, self._rendered, self._namespace.name)
            settings, lines = self._changed_settings(), keys.read_text() if keys else None
            overlay.write(*names, settings, images_in_cluster, self.options.replicas, lines)
            cluster.kubectl("apply", "--kustomize", folder)

    def _changed_settings(self) -> dict[str, dict[str, str]]:
        """The environment variables of each service that differ from the compose files' defaults."""
        options = self.options
        given = options.compose_file().services
        plain = composefile.load(options.directory, options.pattern, options.variant, {}).services
        return {name: dict(given[name].environment.items() - plain[name].environment.items()) for name in given}

    def _wait_rolled_out(self, deadline: float, timeout_seconds: float, service: str | None = None) -> None:
        """Wait until all replicas of every workload, or of the one named `service`, are updated and ready."""
        watch = LoadWatch(print_progress)
        while True:
            workloads, pods = self._namespace.workloads(), self._namespace.pods()
            late = [one for one in workloads.values() if service in (None, one.name) and not one.rolled_out]
            if not late and workloads:
                break
            waiting = [pod for pod in pods if pod.service in {one.name for one in late} and not pod.ready]
            require_progress(self._namespace, waiting, watch)
            self._require_time_left(waiting, deadline, timeout_seconds)
            time.sleep(_POLL_SECONDS)
        self._namespace.name_replicas(workloads, pods)

    def _require_time_left(self, waiting: list[Pod], deadline: float, timeout_seconds: float) -> None:
        if time.monotonic() > deadline:
            if not waiting:
                raise StackNotReady(self.name, timeout_seconds, "no pods were created; see kubectl get events")
            pod = waiting[0]
            raise StackNotReady(pod.name, timeout_seconds, self._unready_reason(pod), self._namespace.last_lines(pod))

    def _unready_reason(self, pod: Pod) -> str:
        if not pod.running:
            return pod.message or pod.waiting or "its pod is not running"
        return probes.http_ready(self._first_port(pod.name), host=self._host)

    def _wait_entry_ready(self, deadline: float, timeout_seconds: float) -> None:
        """Wait until the entry is reachable from this host: kube-proxy needs a second after the pods are ready."""
        port = self._open_ports[overlay.ENTRY][HTTP]
        while not (hosts := [host for host in self._hosts if probes.http_ready(port, host=host) == probes.READY]):
            if time.monotonic() > deadline:
                raise NodePortUnreachable(self._hosts, port, self._namespace.name, self.options.http_port)
            time.sleep(_POLL_SECONDS)
        self.__dict__["_host"] = hosts[0]

    def _wait_accepting_connections(self, deadline: float, timeout_seconds: float, service: str | None = None) -> None:
        """Wait until each instance (of one service, if given) and its entry accept connections from this host."""
        every = (name for one in self._namespace.workloads().values() for name in one.instances())
        ports = {name: self._first_port(name) for name in (every if service is None else self._instances(service))}
        if service == self.options.compose_file().entry.name:
            ports[overlay.ENTRY] = self._open_ports[overlay.ENTRY][HTTP]
        for name, port in ports.items():
            while not probes.accepts_connections(port, self._host):
                if time.monotonic() > deadline:
                    raise StackNotReady(name, timeout_seconds, f"node port {port} of {self._host} refuses connections")
                time.sleep(_POLL_SECONDS)

    @cached_property
    def _hosts(self) -> list[str]:
        return [self._settings.node_address] if self._settings.node_address else cluster.node_addresses()

    @cached_property
    def _host(self) -> str:
        """The address of a node whose ports are reachable; the last known address if none is ready."""
        port = self._open_ports[overlay.ENTRY][HTTP]
        answering = (host for host in self._hosts if not probes.http_ready(port, host=host).endswith("refused)"))
        return next(answering, self._hosts[-1])

    @cached_property
    def _open_ports(self) -> dict[str, dict[int, int]]:
        if not self.is_up():
            raise StackNotRunning(self.name, self.options.pattern)
        return self._namespace.ports()

    def _entry(self, port: int) -> str:
        return f"{self._host}:{self._open_ports[overlay.ENTRY][port]}"

    def _first_port(self, instance: str) -> int:
        ports = self._open_ports[f"direct-{instance}"]
        return ports.get(HTTP) or next(iter(ports.values()))

    def _all(self) -> list[Pod]:
        if not self.is_up():
            raise StackNotRunning(self.name, self.options.pattern)
        return self._namespace.pods()

    def _running(self, service: str) -> list[Pod]:
        names = self._instances(service)
        return [pod for pod in self._namespace.pods() if pod.name in names and pod.running and not pod.terminating]

    def _instances(self, service: str) -> list[str]:
        """The names of the instances of a service, or the given name if it is an instance."""
        workload = self._workload(service)
        return [service] if service != workload.name else workload.instances()

    def _workload(self, service: str) -> Workload:
        workloads = self._namespace.workloads()
        if not workloads:
            raise StackNotRunning(self.name, self.options.pattern)
        for workload in workloads.values():
            if service in (workload.name, *workload.instances()):
                return workload
        raise UnknownName("service", service, [name for one in workloads.values() for name in one.instances()])

    def _scale_down(self, service: str, first: Callable[[list[Pod]], None], *how: str) -> None:
        """Scale the service down by the pods of this name. Returns when they are deleted."""
        workload, pods = self._workload(service), self._running(service)
        for pod in pods if len(pods) < workload.current_replicas else []:
            self._namespace.kubectl("annotate", "pod", pod.id, "controller.kubernetes.io/pod-deletion-cost=-1")
        first(pods)
        self._namespace.scale(workload, workload.current_replicas - len(pods))
        if pods:
            names = [f"pod/{pod.id}" for pod in pods]
            self._namespace.kubectl("delete", *names, "--ignore-not-found", "--wait=false", *how)
            self._namespace.kubectl("wait", "--for=delete", *names, "--timeout=60s", timeout_seconds=70)

    def _status(self, pod: Pod, memory_bytes: int | None) -> ServiceStatus:
        if not pod.running:
            return ServiceStatus(pod.name, "starting" if pod.exit_code is None else "exited", None, None, None)
        uptime = (datetime.now(UTC) - pod.started).total_seconds() if pod.started else None
        url = f"http://{self._host}:{self._first_port(pod.name)}"
        return ServiceStatus(pod.name, "ready" if pod.ready else "unready", url, uptime, memory_bytes)
