"""What every runtime offers, and how one is chosen."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from runtimes import composefile, engine, ports
from runtimes.errors import EngineMissing, PortTaken, UnknownName

HTTP, GRPC = 8000, 8001
COMPOSE_DIRECTORY = Path(__file__).resolve().parents[1] / "compose"
_RUNTIMES = {
    "local": "runtimes.local:LocalStack",
    "compose": "runtimes.compose:ComposeStack",
    "kubernetes": "runtimes.kubernetes:KubernetesStack",
}


@dataclass(frozen=True)
class ServiceStatus:
    """One instance of a service as seen from this host; None where a runtime cannot tell.

    `service` is the instance's name: the service's own, or `<service>-<number>` when it has replicas.
    """

    service: str
    state: Literal["starting", "ready", "unready", "frozen", "exited"]
    url: str | None
    uptime_seconds: float | None
    memory_bytes: int | None


@dataclass(frozen=True)
class StackOptions:
    """What a stack is made of; `variables` fill the compose files' `${...}`."""

    pattern: str
    variant: str | None
    name: str
    http_port: int
    grpc_port: int
    variables: Mapping[str, str]
    directory: Path

    def compose_file(self) -> composefile.ComposeFile:
        """The pattern's compose files, filled in. Raises StackError for an unknown name or variable."""
        given = {**os.environ, "PORT": str(self.http_port), "GRPC_PORT": str(self.grpc_port), **self.variables}
        file = composefile.load(self.directory, self.pattern, self.variant, given)
        for name in self.variables.keys() - file.variables:
            raise UnknownName("setting (no service of the compose file takes it)", name, list(file.variables))
        return file


class Stack(ABC):
    """A pattern's services, started together; also a context manager that starts them and takes them down.

    Where a method takes a service, the name of a single replica (`api-2`) does as well.
    """

    runtime: str

    def __init__(self, options: StackOptions) -> None:
        self.options = options
        self.name = options.name

    @staticmethod
    def create(
        pattern: str,
        runtime: str = "auto",
        variant: str | None = None,
        port: int = 8000,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        compose_dir: Path = COMPOSE_DIRECTORY,
    ) -> Stack:
        """A stack that is not started yet.

        The entry listens on `port` (HTTP) and `port` + 1 (gRPC) of 127.0.0.1; 0 takes free ones, which then stay the
        same over a restart. `env` fills the compose files' variables. Two stacks with different names run side by
        side. Raises UnknownName, EngineMissing.
        """
        composefile.find(compose_dir, pattern, variant)
        http_port, grpc_port = (port, port + 1) if port else ports.free_ports(2)
        shown = name or pattern.replace("_", "-")
        options = StackOptions(pattern, variant, shown, http_port, grpc_port, env or {}, compose_dir)
        return _runtime_class(_chosen(runtime))(options)

    @staticmethod
    def find(
        pattern: str, runtime: str = "auto", name: str | None = None, compose_dir: Path = COMPOSE_DIRECTORY
    ) -> Stack:
        """The stack of `pattern` that some process started; with `auto`, in whichever runtime it is up.

        Raises UnknownName, EngineMissing; what is not up says so when it is used.
        """
        candidates = [runtime] if runtime != "auto" else ["local", *(["compose"] if engine.missing() is None else [])]
        stacks = [Stack.create(pattern, one, name=name, compose_dir=compose_dir) for one in candidates]
        return next((stack for stack in stacks if stack.is_up()), stacks[0])

    @abstractmethod
    def up(self, timeout_seconds: float = 120) -> str:
        """Starts every service, anew if some are there already, waits until all are ready and gives the entry's URL.

        The time does not count what is built first. Leaves nothing behind when it fails. Raises StackError.
        """

    @abstractmethod
    def build(self) -> None:
        """Builds what the services need and what is not fresh: images, or models where there are no images."""

    @abstractmethod
    def down(self) -> None:
        """Ends every service and removes what it kept; does nothing when nothing is there."""

    @abstractmethod
    def is_up(self) -> bool:
        """Whether something of this stack is there, ready or not."""

    @abstractmethod
    def replicas(self, service: str | None = None) -> list[str]:
        """HTTP base URLs of the service's running replicas (the entry's when None), reachable from this host."""

    @abstractmethod
    def grpc(self, service: str | None = None) -> str:
        """`host:port` of the service's gRPC side (the entry's when None), reachable from this host."""

    @abstractmethod
    def stop(self, service: str) -> None:
        """SIGTERM; returns when the service has ended, by SIGKILL once its grace is over."""

    @abstractmethod
    def signal(self, service: str, signum: int) -> None:
        """Sends a signal and does not wait."""

    @abstractmethod
    def kill(self, service: str) -> None:
        """SIGKILL; returns when the service has ended. It is not restarted."""

    @abstractmethod
    def start(self, service: str, timeout_seconds: float = 60, wait: bool = True) -> None:
        """Starts what was stopped or killed, on the same ports, and waits until it is ready unless `wait` is False."""

    @abstractmethod
    def freeze(self, service: str) -> None:
        """Halts the service without its knowing; sockets stay open, nothing answers."""

    @abstractmethod
    def thaw(self, service: str) -> None:
        """Lets a frozen service go on."""

    @abstractmethod
    def logs(self, service: str | None = None, follow: bool = False) -> Iterator[str]:
        """What the services wrote, each line behind its instance's name; `follow` goes on until the stack is down."""

    @abstractmethod
    def status(self) -> list[ServiceStatus]:
        """One entry for each instance of each service; empty when the stack is not up."""

    def url(self, service: str | None = None) -> str:
        """HTTP base URL of a service (the entry when None), of its first replica if it has several."""
        return self.replicas(service)[0]

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()


def require_free_ports(file: composefile.ComposeFile, options: StackOptions) -> None:
    """Raises PortTaken when somebody listens where the entry is to listen."""
    for port in file.entry.ports:
        if not ports.is_free(port.host):
            raise PortTaken(port.host, ports.owner(port.host), options.pattern, options.http_port + 10)


def say(message: str) -> None:
    """Progress, for a person, on standard error."""
    print(message, file=sys.stderr, flush=True)


def _chosen(runtime: str) -> str:
    missing = engine.missing() if runtime in ("auto", "compose") else None
    if runtime == "auto":
        return "local" if missing else "compose"
    if missing:
        raise EngineMissing(f"runtime compose: {missing}; run with RUNTIME=local")
    if runtime == "kubernetes" and not shutil.which("kubectl"):
        raise EngineMissing("runtime kubernetes: kubectl is not installed")
    return runtime


def _runtime_class(runtime: str) -> type[Stack]:
    if runtime not in _RUNTIMES:
        raise UnknownName("runtime", runtime, ["auto", *_RUNTIMES])
    module, _, name = _RUNTIMES[runtime].partition(":")
    found: type[Stack] = getattr(importlib.import_module(module), name)
    return found
