"""The commands of our own balancers of local processes; runtimes/balancer.py is what they run."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from runtimes.composefile import ComposeService
from runtimes.errors import NoLocalSubstitute

_HTTP = 8000
# so that a balancer finds its code wherever a stack runs
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}


def name_of(service: str) -> str:
    """The name of the balancer in front of a service with several replicas."""
    return f"{service}-balancer"


def command(
    ip: str, ports: Mapping[int, int], replicas: Sequence[Mapping[int, int]], balanced: Collection[int]
) -> list[str]:
    """The command of a balancer. `ports` and each of `replicas` map container ports to ports of this machine."""
    words = ["python", "-m", "runtimes.balancer", "--host", ip]
    for port in balanced:
        targets = ",".join(f"127.0.0.1:{replica[port]}" for replica in replicas)
        words += ["--http" if port == _HTTP else "--tcp", f"{ports[port]}={targets}"]
    return words


def forward(ip: str, ports: Mapping[int, int], host: str, targets: Mapping[int, int]) -> list[str]:
    """The command of a balancer that leads each of `ports` to the port of the same container port at `host`."""
    words = ["python", "-m", "runtimes.balancer", "--host", ip]
    for port, outside in ports.items():
        words += ["--tcp", f"{outside}={host}:{targets[port]}"]
    return words


def instead_of_nginx(
    service: ComposeService,
    source: Path,
    ip: str,
    ports: Mapping[int, int],
    backends: Mapping[str, Sequence[Mapping[int, int]]],
) -> list[str]:
    """The command of a balancer for an nginx whose configuration leads to one service. Raises NoLocalSubstitute."""
    text = source.read_text()
    listens = sorted({int(port) for port in re.findall(r"^\s*listen (\d+)", text, re.MULTILINE)})
    led_to = [name for name in backends if re.search(rf"//{re.escape(name)}:\d", text)]
    if len(led_to) != 1:
        reason = "nginx is not installed on this machine, and our own balancer serves one service only"
        raise NoLocalSubstitute(service.name, service.image, reason)
    return command(ip, ports, backends[led_to[0]], listens)
