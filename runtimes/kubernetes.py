"""The Kubernetes runtime: the pattern's manifests in a namespace of their own, on the cluster that kubectl reaches."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import yaml
from pydantic_settings import BaseSettings

from runtimes import cluster, composefile, engine, images, overlay, probes
from runtimes.base import GRPC, HTTP, ServiceStatus, Stack, StackOptions, say
from runtimes.cluster import COMPONENT, Namespace, Pod, Workload
from runtimes.compose import ComposeStack
from runtimes.errors import ImageMissing, NotReady, NotUp, ServiceExited, StackError, UnknownName, Unreachable

_POLL_SECONDS = 0.25


class KubernetesSettings(BaseSettings):
    """How this machine and the cluster meet; by environment variables."""

    image_load_command: str = ""
    image_prefix: str = ""
    node_address: str = ""


class KubernetesStack(Stack):
    """Stack on pods; its namespace is called `sp-<name>`.

    The entry is reached by its Service, which leads to ready pods alone; a service by name is reached ready or not.
    """

    runtime = "kubernetes"

    def __init__(self, options: StackOptions) -> None:
        super().__init__(options)
        self._space = Namespace(f"sp-{self.name}")
        self._known = KubernetesSettings()
        name = ".".join(filter(None, (options.pattern, options.variant)))
        self._manifests = options.directory.parent / "k8s" / "patterns" / name

    def up(self, timeout_seconds: float = 120) -> str:
        self.options.compose_file()
        self.down()
        brought = self._bring_images()
        self._space.wait_removed()
        deadline = time.monotonic() + timeout_seconds
        try:
            self._apply(brought)
            self._wait_settled(deadline, timeout_seconds)
            self._wait_answering(deadline, timeout_seconds)
            self._wait_reached(deadline, timeout_seconds)
        except BaseException:
            self.down()
            raise
        say(f"{self.name} is ready: {', '.join(pod.name for pod in self._space.pods())}")
        return self.url()

    def build(self) -> None:
        self._bring_images()

    def down(self) -> None:
        if self._space.exists():
            self._space.remove()
        for found in ("_open_ports", "_host"):
            self.__dict__.pop(found, None)

    def is_up(self) -> bool:
        return self._space.exists()

    def replicas(self, service: str | None = None) -> list[str]:
        if service is None:
            return [f"http://{self._host}:{self._open_ports[overlay.ENTRY][HTTP]}"]
        names = [pod.name for pod in self._running(service)] or self._instances(service)
        return [f"http://{self._host}:{self._first_port(name)}" for name in names]

    def grpc(self, service: str | None = None) -> str:
        name = overlay.ENTRY if service is None else f"direct-{self._instances(service)[0]}"
        return f"{self._host}:{self._open_ports[name][GRPC]}"

    def stop(self, service: str) -> None:
        self._take_down(service, lambda pods: None)

    def signal(self, service: str, signum: int) -> None:
        for pod in self._running(service):
            self._space.signal(pod, signal.Signals(signum).name.removeprefix("SIG"))

    def kill(self, service: str) -> None:
        def end(pods: list[Pod]) -> None:
            for pod in pods:
                self._space.signal(pod, "KILL")

        self._take_down(service, end, "--force", "--grace-period=0")

    def start(self, service: str, timeout_seconds: float = 60, wait: bool = True) -> None:
        workload = self._workload(service)
        ended = [f"pod/{pod.id}" for pod in self.pods(service) if pod.exit_code is not None and not pod.leaving]
        if ended:  # in place of one that waits longer for each restart
            self._space.kubectl("delete", *ended, "--force", "--grace-period=0")
        self._space.scale(workload, workload.wanted)
        if wait:
            deadline = time.monotonic() + timeout_seconds
            self._wait_settled(deadline, timeout_seconds, workload.name)
            self._wait_reached(deadline, timeout_seconds, service)

    def freeze(self, service: str) -> None:
        self.signal(service, signal.SIGSTOP)

    def thaw(self, service: str) -> None:
        self.signal(service, signal.SIGCONT)

    def logs(self, service: str | None = None, follow: bool = False) -> Iterator[str]:
        pods = self.pods(service)
        for pod in (one for one in pods if one.restarts):
            yield from self._written(pod.id, "--previous", names={pod.id: pod.name})
        chosen = f"{COMPONENT} in ({','.join(sorted({pod.service for pod in pods}))})"
        options = ["--selector", chosen, "--max-log-requests=50", *(["--follow"] if follow else [])]
        yield from self._written(*options, names={pod.id: pod.name for pod in pods})

    def status(self) -> list[ServiceStatus]:
        if not self.is_up():
            return []
        memory, pods = self._space.memory(), self._space.pods()
        wanted = [name for workload in self._space.workloads().values() for name in workload.instances()]
        gone = [name for name in wanted if name not in {pod.name for pod in pods}]
        stopped = [ServiceStatus(name, "exited", None, None, None) for name in gone]
        return [*(self._status(pod, memory.get(pod.id)) for pod in pods), *stopped]

    def pods(self, service: str | None = None) -> list[Pod]:
        """The pods of a service, or of one replica, or of all when None, those that are leaving included."""
        return [pod for pod in self._all() if service in (None, pod.service, pod.name)]

    # --- starting

    def _bring_images(self) -> dict[str, str]:
        """Builds, tags by content and brings in what the pods run; leads from the manifests' names to the cluster's.

        Where no container engine answers, the cluster has to have the images as the manifests name them.
        """
        if engine.missing():
            return {}
        ComposeStack(self.options).build()
        names = overlay.images_of(self._rendered)
        return images.bring_in(names, self._known.image_prefix, self._known.image_load_command)

    @cached_property
    def _rendered(self) -> list[overlay.Tree]:
        if not self._manifests.is_dir():
            raise StackError(f"there are no manifests in k8s/patterns/{self._manifests.name}")
        return list(yaml.safe_load_all(cluster.kubectl("kustomize", str(self._manifests))))

    def _apply(self, brought: dict[str, str]) -> None:
        with tempfile.TemporaryDirectory(prefix="serving-patterns-") as folder:
            names = (Path(folder), self._manifests, self._rendered, self._space.name)
            overlay.write(*names, self._changed_settings(), brought)
            cluster.kubectl("apply", "--kustomize", folder)

    def _changed_settings(self) -> dict[str, dict[str, str]]:
        """What the caller's variables change in each service's environment, by the compose files."""
        options = self.options
        given = options.compose_file().services
        plain = composefile.load(options.directory, options.pattern, options.variant, {}).services
        return {name: dict(given[name].environment.items() - plain[name].environment.items()) for name in given}

    def _wait_settled(self, deadline: float, timeout_seconds: float, service: str | None = None) -> None:
        """Until every workload, or that one, has as many ready pods as it wants."""
        while True:
            workloads, pods = self._space.workloads(), self._space.pods()
            late = [one for one in workloads.values() if service in (None, one.name) and not one.settled]
            if not late and workloads:
                break
            waiting = [pod for pod in pods if pod.service in {one.name for one in late} and not pod.ready]
            self._require_progress(waiting, deadline, timeout_seconds)
            time.sleep(_POLL_SECONDS)
        self._space.name_replicas(workloads, pods)

    def _require_progress(self, waiting: list[Pod], deadline: float, timeout_seconds: float) -> None:
        for pod in waiting:
            if pod.lacks_image:
                raise ImageMissing(pod.name, pod.image, pod.why or pod.waiting)
            if pod.died and not pod.leaving:
                how = f"exited with code {pod.exit_code}" if pod.exit_code is not None else pod.waiting
                raise ServiceExited(pod.name, how, self._space.last_lines(pod))
        if time.monotonic() > deadline:
            if not waiting:
                raise NotReady(self.name, timeout_seconds, "its pods were not created")
            pod = waiting[0]
            raise NotReady(pod.name, timeout_seconds, self._answer(pod), self._space.last_lines(pod))

    def _answer(self, pod: Pod) -> str:
        if not pod.running:
            return pod.why or pod.waiting or "its pod does not run"
        return probes.http_ready(self._first_port(pod.name), host=self._host)

    def _wait_answering(self, deadline: float, timeout_seconds: float) -> None:
        """Until the entry answers from here: the nodes' rules follow the pods' readiness by up to a second."""
        port = self._open_ports[overlay.ENTRY][HTTP]
        while not (hosts := [host for host in self._hosts if probes.http_ready(port, host=host) == probes.READY]):
            if time.monotonic() > deadline:
                raise Unreachable(self._hosts, port, self._space.name, self.options.http_port)
            time.sleep(_POLL_SECONDS)
        self.__dict__["_host"] = hosts[0]

    def _wait_reached(self, deadline: float, timeout_seconds: float, service: str | None = None) -> None:
        """Until each instance, or those of one service, takes connections from here; for the entry's, the entry too."""
        every = (name for one in self._space.workloads().values() for name in one.instances())
        ports = {name: self._first_port(name) for name in (every if service is None else self._instances(service))}
        if service == self.options.compose_file().entry.name:
            ports[overlay.ENTRY] = self._open_ports[overlay.ENTRY][HTTP]
        for name, port in ports.items():
            while not probes.listens(port, self._host):
                if time.monotonic() > deadline:
                    raise NotReady(name, timeout_seconds, "its node's port takes no connection")
                time.sleep(_POLL_SECONDS)

    # --- finding, ending

    @cached_property
    def _hosts(self) -> list[str]:
        return [self._known.node_address] if self._known.node_address else cluster.node_addresses()

    @cached_property
    def _host(self) -> str:
        """Where the nodes' ports answer; while nothing is ready, the first address that a node gives."""
        port = self._open_ports[overlay.ENTRY][HTTP]
        answering = (host for host in self._hosts if not probes.http_ready(port, host=host).endswith("refused)"))
        return next(answering, self._hosts[-1])

    @cached_property
    def _open_ports(self) -> dict[str, dict[int, int]]:
        if not self.is_up():
            raise NotUp(self.name, self.options.pattern)
        return self._space.ports()

    def _first_port(self, instance: str) -> int:
        ports = self._open_ports[f"direct-{instance}"]
        return ports.get(HTTP) or next(iter(ports.values()))

    def _all(self) -> list[Pod]:
        if not self.is_up():
            raise NotUp(self.name, self.options.pattern)
        return self._space.pods()

    def _running(self, service: str) -> list[Pod]:
        names = self._instances(service)
        return [pod for pod in self._space.pods() if pod.name in names and pod.running and not pod.leaving]

    def _instances(self, service: str) -> list[str]:
        """The instances of a service, or the one of that name."""
        workload = self._workload(service)
        return [service] if service != workload.name else workload.instances()

    def _workload(self, service: str) -> Workload:
        workloads = self._space.workloads()
        if not workloads:
            raise NotUp(self.name, self.options.pattern)
        for workload in workloads.values():
            if service in (workload.name, *workload.instances()):
                return workload
        raise UnknownName("service", service, [name for one in workloads.values() for name in one.instances()])

    def _take_down(self, service: str, first: Callable[[list[Pod]], None], *how: str) -> None:
        """Scales a service down by the pods that bear this name, and returns when they are gone."""
        workload, pods = self._workload(service), self._running(service)
        for pod in pods if len(pods) < workload.scaled else []:
            self._space.kubectl("annotate", "pod", pod.id, "controller.kubernetes.io/pod-deletion-cost=-1")
        first(pods)
        self._space.scale(workload, workload.scaled - len(pods))
        if pods:
            names = [f"pod/{pod.id}" for pod in pods]
            self._space.kubectl("delete", *names, "--ignore-not-found", "--wait=false", *how)
            self._space.kubectl("wait", "--for=delete", *names, "--timeout=60s", timeout_seconds=70)

    # --- telling

    def _written(self, *options: str, names: Mapping[str, str]) -> Iterator[str]:
        command = ["kubectl", "--namespace", self._space.name, "logs", "--prefix", "--tail=-1", "--container", "app"]
        with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
            try:
                for line in process.stdout or []:
                    source, _, text = line.rstrip("\n").partition("] ")  # [pod/<id>/app] text
                    if (pod := source.removeprefix("[pod/").removesuffix("/app")) in names:
                        yield f"{names[pod]} | {text}"
            finally:
                process.terminate()

    def _status(self, pod: Pod, memory_bytes: int | None) -> ServiceStatus:
        if not pod.running:
            return ServiceStatus(pod.name, "starting" if pod.exit_code is None else "exited", None, None, None)
        uptime = (datetime.now(UTC) - pod.started).total_seconds() if pod.started else None
        url = f"http://{self._host}:{self._first_port(pod.name)}"
        return ServiceStatus(pod.name, "ready" if pod.ready else "unready", url, uptime, memory_bytes)
