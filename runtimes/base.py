"""The interface of all runtimes (`Stack`), and the selection of a runtime."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from runtimes import composefile, engine, ports
from runtimes.errors import EngineUnavailable, PortInUse, UnknownName

HTTP, GRPC = 8000, 8001
COMPOSE_DIRECTORY = Path(__file__).resolve().parents[1] / "compose"
_RUNTIMES = {
    "local": "runtimes.local:LocalStack",
    "compose": "runtimes.compose:ComposeStack",
    "kubernetes": "runtimes.kubernetes:KubernetesStack",
}


@dataclass(frozen=True)
class ServiceStatus:
    """The status of one instance of a service; None where a runtime cannot tell.

    `service` is the name of the instance: that of the service, or `<service>-<number>` if it has several replicas.
    """

    service: str
    state: Literal["starting", "ready", "unready", "frozen", "exited"]
    url: str | None
    uptime_seconds: float | None
    memory_bytes: int | None


@dataclass(frozen=True)
class StackOptions:
    """The pattern, variant, name and ports of a stack. `variables` are the values of `${...}` in its compose files."""

    pattern: str
    variant: str | None
    name: str
    http_port: int
    grpc_port: int
    ports_given: bool
    grpc_port_given: bool
    bind: str
    replicas: Mapping[str, int]
    variables: Mapping[str, str]
    directory: Path

    def compose_file(self) -> composefile.ComposeFile:
        """The pattern's compose files, merged and interpolated. Raises StackError for an unknown name or variable."""
        file = composefile.load(self.directory, self.pattern, self.variant, {**os.environ, **self.all_variables()})
        for name in self.variables.keys() - file.variables:
            raise UnknownName("setting of the compose file", name, list(file.variables))
        for name in self.replicas.keys() - file.services.keys():
            raise UnknownName("service", name, list(file.services))
        return file

    def entry_ports(self) -> dict[int, int]:
        """The ports of this machine that the entry is given, by container port."""
        return {HTTP: self.http_port, GRPC: self.grpc_port}

    def all_variables(self) -> dict[str, str]:
        """The variables of the compose files that this stack sets."""
        bind = f"[{self.bind}]" if ":" in self.bind else self.bind
        own = {"BIND": bind, "PORT": str(self.http_port), "GRPC_PORT": str(self.grpc_port)}
        return {**own, **self.variables}


class Stack(ABC):
    """The services of a pattern, started together. As a context manager, it starts them and stops them at the end.

    Every parameter `service` is the name of a service or of one of its replicas (`api-2`).
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
        grpc_port: int | None = None,
        bind: str = "127.0.0.1",
        replicas: Mapping[str, int] | None = None,
    ) -> Stack:
        """A stack that is not started yet.

        The entry listens on `bind` at `port` (HTTP) and `grpc_port`; without one at `port` + 1, or at a free port if
        that one is in use. A `port` of 0 uses free ports, which stay the same when a service is restarted. `env` gives
        values to the compose files' variables, `replicas` numbers to services. Stacks with different names can run at
        the same time. Raises UnknownName, EngineUnavailable.
        """
        composefile.find(compose_dir, pattern, variant)
        http, grpc = (port, port + 1) if port else ports.free_ports(2)
        options = StackOptions(
            pattern=pattern,
            variant=variant,
            name=name or pattern.replace("_", "-"),
            http_port=http,
            grpc_port=grpc if grpc_port is None else grpc_port,
            ports_given=port != 0,
            grpc_port_given=grpc_port is not None,
            bind=bind,
            replicas=replicas or {},
            variables=env or {},
            directory=compose_dir,
        )
        return _runtime_class(_select_runtime(runtime))(options)

    @staticmethod
    def find(
        pattern: str, runtime: str = "auto", name: str | None = None, compose_dir: Path = COMPOSE_DIRECTORY
    ) -> Stack:
        """The stack of `pattern` that another process started; with `auto`, in the runtime in which it is running.

        Raises UnknownName, EngineUnavailable. If it is not running, its methods raise StackNotRunning.
        """
        candidates = (
            [runtime] if runtime != "auto" else ["local", *(["compose"] if engine.unavailable_reason() is None else [])]
        )
        stacks = [Stack.create(pattern, one, name=name, compose_dir=compose_dir) for one in candidates]
        return next((stack for stack in stacks if stack.is_up()), stacks[0])

    @abstractmethod
    def up(self, timeout_seconds: float = 120) -> str:
        """Build, start every service and wait until all are ready. Returns the URL of the entry.

        Services of this stack that are running are stopped first. The timeout does not include the build. If it fails,
        everything is removed again. Raises StackError.
        """

    @abstractmethod
    def build(self) -> None:
        """Build what is out of date: the images, or the models if the runtime uses no images."""

    @abstractmethod
    def down(self) -> None:
        """Stop every service and remove its data. Does nothing if the stack is not running."""

    @abstractmethod
    def is_up(self) -> bool:
        """Whether any service of this stack exists, ready or not."""

    def origin(self) -> str:
        """What is known of the running services of this name: the checkout that started them, and their model."""
        return ""

    def replace(self) -> None:
        """Stop the services of this name that are running, and say which stack it was."""
        if self.is_up():
            hint = "to run another stack beside it, give that a name and a port: STACK=second PORT=8010"
            print_progress(f"stopping the stack {self.name}{self.origin()}, to replace it ({hint})")
        self.down()

    @abstractmethod
    def replicas(self, service: str | None = None) -> list[str]:
        """HTTP base URLs of the running replicas of a service (None: the entry), reachable from this host."""

    @abstractmethod
    def grpc(self, service: str | None = None) -> str:
        """`host:port` of the gRPC port of a service (None: the entry), reachable from this host."""

    @abstractmethod
    def stop(self, service: str) -> None:
        """Send SIGTERM, and SIGKILL after the grace period. Returns when the service has ended."""

    @abstractmethod
    def signal(self, service: str, signum: int) -> None:
        """Send a signal. Does not wait."""

    @abstractmethod
    def kill(self, service: str) -> None:
        """Send SIGKILL. Returns when the service has ended. It is not restarted."""

    @abstractmethod
    def start(self, service: str, timeout_seconds: float = 60, wait: bool = True) -> None:
        """Start a stopped or killed service on the same ports, and wait until it is ready unless `wait` is False."""

    @abstractmethod
    def freeze(self, service: str) -> None:
        """Suspend the processes of a service (SIGSTOP). Its sockets stay open, but it does not respond."""

    @abstractmethod
    def thaw(self, service: str) -> None:
        """Resume a frozen service (SIGCONT)."""

    @abstractmethod
    def logs(self, service: str | None = None, follow: bool = False) -> Iterator[str]:
        """The log lines as `<instance> | <line>`. With `follow`, until the stack is stopped."""

    @abstractmethod
    def status(self) -> list[ServiceStatus]:
        """The status of every instance; empty if the stack is not running."""

    def url(self, service: str | None = None) -> str:
        """HTTP base URL of a service (None: the entry); of its first replica if it has several."""
        return self.replicas(service)[0]

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()


def origin(own: Path, started_from: Path, model: str) -> str:
    """Of a running stack: its checkout if that is not `own`, and its model if it has one, as words behind its name."""
    where = "" if started_from == own else f" of {started_from}"
    return f"{where} (model {model})" if model else where


def with_free_ports(options: StackOptions) -> StackOptions:
    """The options with ports that are free: another gRPC port if nobody chose the one in use.

    Raises PortInUse for a port that was chosen.
    """
    for port in options.compose_file().entry.ports:
        if ports.is_free(port.host, port.ip):
            continue
        owner = ports.owner(port.host)
        if port.container != GRPC or options.grpc_port_given:
            raise PortInUse(port.host, owner, options.pattern, options.http_port + 10)
        options = replace(options, grpc_port=ports.free_ports(1)[0])
        print_progress(f"port {port.host} is in use by {owner}; gRPC listens on port {options.grpc_port} instead")
    return options


def warn_of_open_entry(options: StackOptions) -> None:
    """Say that an entry which listens beyond loopback, and asks for no keys, is open to others."""
    beyond = options.bind not in ("localhost", "::1") and not options.bind.startswith("127.")
    environments = [service.environment for service in options.compose_file().services.values()]
    asks = any(one.get("API_KEYS") or one.get("API_KEYS_FILE") for one in environments)
    if beyond and not asks:
        print_progress(
            f"warning: {options.name} listens on {options.bind}; whoever reaches this machine can use it, "
            "because neither API_KEYS nor API_KEYS_FILE is set"
        )


def print_progress(message: str) -> None:
    """Print a progress message to standard error."""
    print(message, file=sys.stderr, flush=True)


def _select_runtime(runtime: str) -> str:
    missing = engine.unavailable_reason() if runtime in ("auto", "compose") else None
    if runtime == "auto":
        return "local" if missing else "compose"
    if missing:
        raise EngineUnavailable(f"RUNTIME=compose is not available: {missing}; fix that, or use RUNTIME=local")
    if runtime == "kubernetes" and not shutil.which("kubectl"):
        raise EngineUnavailable("RUNTIME=kubernetes is not available: kubectl is not installed; install it")
    return runtime


def _runtime_class(runtime: str) -> type[Stack]:
    if runtime not in _RUNTIMES:
        raise UnknownName("runtime", runtime, ["auto", *_RUNTIMES])
    module, _, name = _RUNTIMES[runtime].partition(":")
    found: type[Stack] = getattr(importlib.import_module(module), name)
    return found
