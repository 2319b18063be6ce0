"""Runs the nginx of this machine instead of an nginx container, with its configuration adapted to local ports."""

import re
import shutil
from pathlib import Path

from runtimes.composefile import ComposeService
from runtimes.errors import NoLocalSubstitute
from runtimes.ports import in_url

CONFIGURATION = "/etc/nginx/nginx.conf"


def installed() -> str | None:
    """The path of this machine's nginx, None if there is none."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")


def command(
    binary: str,
    source: Path,
    folder: Path,
    ip: str,
    ports: dict[int, int],
    backends: dict[str, list[dict[int, int]]],
) -> list[str]:
    """Write the configuration `source`, adapted, to `folder`. Returns the command of nginx."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nginx.conf"
    path.write_text(localise(source.read_text(), folder, ports, backends, in_url(ip)))
    return [binary, "-c", str(path), "-p", str(folder), "-e", "stderr", "-g", "daemon off;"]


def localise(
    text: str, folder: Path, ports: dict[int, int], backends: dict[str, list[dict[int, int]]], ip: str = "127.0.0.1"
) -> str:
    """Replace paths, ports and `service:port` names in a configuration by those of this machine.

    `backends` gives the ports of each replica of each service. A service becomes an upstream group of its replicas, so
    that nginx does not resolve its name.
    """
    text = re.sub(r"/tmp/", f"{folder}/", text)
    text = re.sub(r"listen (\d+)", lambda match: f"listen {ip}:{ports[int(match[1])]}", text)
    groups = []
    for name, replicas in backends.items():
        for port in sorted({int(found) for found in re.findall(rf"//{re.escape(name)}:(\d+)", text)}):
            servers = " ".join(f"server 127.0.0.1:{replica[port]};" for replica in replicas)
            groups.append(f"    upstream {name}_{port} {{ {servers} }}")
            text = re.sub(rf"//{re.escape(name)}:{port}\b", f"//{name}_{port}", text)
    return text.replace("http {\n", "\n".join(["http {", *groups, ""]), 1)


def source(service: ComposeService, directory: Path) -> Path:
    """The configuration that the compose file mounts. Raises NoLocalSubstitute."""
    for volume in service.volumes:
        path, _, target = volume.partition(":")
        if target.startswith(CONFIGURATION):
            return directory / path
    raise NoLocalSubstitute(
        service.name, service.image, f"no volume mounts {CONFIGURATION}, which the local runtime needs"
    )
