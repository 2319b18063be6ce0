"""Reads the containers of a compose project from Docker."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from runtimes import engine, processes
from runtimes.base import HTTP, ServiceStatus
from runtimes.errors import CommandFailed, StackError
from runtimes.ports import in_url, reachable

_LABEL = "com.docker.compose"
_HEALTH: dict[str, Literal["starting", "ready", "unready"]] = {
    "none": "ready",
    "healthy": "ready",
    "starting": "starting",
    "unhealthy": "unready",
}


@dataclass(frozen=True)
class Container:
    """A container of a project. `published` maps its ports to addresses of the host.

    `checkout` is the folder with the compose files' folder, `model` the value of its variable MODEL.
    """

    id: str
    name: str
    service: str
    state: Literal["starting", "ready", "unready", "frozen", "exited"]
    crashed: bool
    exit_code: int
    started: datetime
    pid: int
    ip: str
    published: dict[int, tuple[str, int]]
    checkout: Path
    model: str

    def address(self, port: int) -> str:
        """`host:port` for one of the container's ports, reachable from this host."""
        if port in self.published:
            ip, number = self.published[port]
            return f"{in_url(reachable(ip))}:{number}"
        if not self.ip:
            raise StackError(f"{self.name} is {self.state}, so it has no address; start it first")
        return f"{self.ip}:{port}"


def of_project(project: str) -> list[Container]:
    """The containers of a compose project, sorted by service and number; empty if there are none."""
    trees = _trees(["docker", "ps", "--all", "--quiet", "--filter", f"label={_LABEL}.project={project}"])
    trees.sort(key=lambda tree: (_label(tree, "service"), int(_label(tree, "container-number"))))
    names = [_label(tree, "service") for tree in trees]
    return [_container(tree, replicated=names.count(_label(tree, "service")) > 1) for tree in trees]


def _trees(listing: list[str]) -> list[dict[str, Any]]:
    """Inspect the listed containers. If one ends between the two commands, list again."""
    ids = engine.run(listing).split()
    while ids:
        try:
            return list(json.loads(engine.run(["docker", "inspect", *ids])))
        except CommandFailed:
            before, ids = ids, engine.run(listing).split()
            if ids == before:
                raise
    return []


def last_lines(container: Container, count: int = 20) -> str:
    """The last log lines of the container."""
    return engine.run(["sh", "-c", 'exec docker logs --tail "$0" "$1" 2>&1', str(count), container.id]).strip()


def how_it_ended(container: Container) -> str:
    """How the container last exited. Docker keeps no code in the state of one that it has started again."""
    if container.state == "exited":
        return f"exited with code {container.exit_code}"
    until = str(int(datetime.now(UTC).timestamp()) + 1)
    window = ["--since", "30m", "--until", until, "--filter", f"container={container.id}", "--filter", "event=die"]
    codes = engine.run(["docker", "events", *window, "--format", "{{.Actor.Attributes.exitCode}}"]).split()
    return f"exited with code {codes[-1]}" if codes else "exited and was started again"


def status(container: Container) -> ServiceStatus:
    """The status of a container as a ServiceStatus."""
    if container.state == "exited":
        return ServiceStatus(container.name, "exited", None, None, None)
    uptime = (datetime.now(UTC) - container.started).total_seconds()
    url = f"http://{container.address(HTTP)}" if container.ip or container.published else None
    return ServiceStatus(container.name, container.state, url, uptime, _memory_bytes(container))


def _label(tree: dict[str, Any], name: str) -> str:
    return str(tree["Config"]["Labels"][f"{_LABEL}.{name}"])


def _container(tree: dict[str, Any], replicated: bool) -> Container:
    state = tree["State"]
    service = _label(tree, "service")
    # NetworkSettings has no ports while the container is stopped; PortBindings has 0 for a port that Docker chose
    bound = (tree["HostConfig"]["PortBindings"] or {}) | {k: v for k, v in _open_ports(tree).items() if v}
    return Container(
        id=tree["Id"],
        name=f"{service}-{_label(tree, 'container-number')}" if replicated else service,
        service=service,
        state=_state(state),
        crashed=state["Status"] in ("exited", "dead", "restarting") or tree["RestartCount"] > 0,
        exit_code=state["ExitCode"],
        started=datetime.fromisoformat(state["StartedAt"][:19] + "+00:00"),
        pid=state["Pid"],
        ip=next((one["IPAddress"] for one in tree["NetworkSettings"]["Networks"].values() if one["IPAddress"]), ""),
        published={int(port.split("/")[0]): _published(hosts[0]) for port, hosts in bound.items()},
        checkout=Path(_label(tree, "project.working_dir")).parent,
        model=next((word[6:] for word in tree["Config"]["Env"] or [] if word.startswith("MODEL=")), ""),
    )


def _open_ports(tree: dict[str, Any]) -> dict[str, Any]:
    return dict(tree["NetworkSettings"].get("Ports") or {})


def _published(binding: dict[str, str]) -> tuple[str, int]:
    return binding["HostIp"], int(binding["HostPort"] or 0)


def _state(state: dict[str, Any]) -> Literal["starting", "ready", "unready", "frozen", "exited"]:
    if state["Paused"]:
        return "frozen"
    if state["Status"] == "created":
        return "starting"
    if state["Status"] != "running":
        return "exited"
    return _HEALTH[state.get("Health", {}).get("Status", "none")]


def _memory_bytes(container: Container) -> int | None:
    """Resident memory of all its processes; None if Docker runs on another host."""
    cgroup = Path(f"/proc/{container.pid}/cgroup")
    if not cgroup.exists() or container.id not in cgroup.read_text():
        return None
    return processes.tree_memory_bytes(container.pid)
