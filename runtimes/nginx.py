"""The machine's own nginx in place of an nginx container, with the same configuration, led to this machine's ports."""

import re
import shutil
from pathlib import Path

from runtimes.composefile import Service
from runtimes.errors import NoStandIn

CONFIGURATION = "/etc/nginx/nginx.conf"


def command(
    service: Service,
    directory: Path,
    state: Path,
    ports: dict[int, int],
    backends: dict[str, list[dict[int, int]]],
) -> list[str]:
    """Writes the configuration below `state` and gives the command that serves it. Raises NoStandIn."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")
    if not binary:
        raise NoStandIn(service.name, service.image, "nginx is not installed on this machine")
    folder = state / service.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nginx.conf"
    path.write_text(localise(_source(service, directory).read_text(), folder, ports, backends))
    return [binary, "-c", str(path), "-p", str(folder), "-e", "stderr", "-g", "daemon off;"]


def localise(text: str, folder: Path, ports: dict[int, int], backends: dict[str, list[dict[int, int]]]) -> str:
    """The configuration `text` with its files in `folder` and its ports and `service:port` names led to this machine.

    A name with several replicas becomes an upstream group, which nginx prefers to asking a resolver.
    """
    text = re.sub(r"/tmp/", f"{folder}/", text)
    text = re.sub(r"listen (\d+)", lambda match: f"listen 127.0.0.1:{ports[int(match[1])]}", text)
    groups = []
    for name, replicas in backends.items():
        for port in sorted({int(found) for found in re.findall(rf"//{re.escape(name)}:(\d+)", text)}):
            servers = " ".join(f"server 127.0.0.1:{replica[port]};" for replica in replicas)
            groups.append(f"    upstream {name}_{port} {{ {servers} }}")
            text = re.sub(rf"//{re.escape(name)}:{port}\b", f"//{name}_{port}", text)
    return text.replace("http {\n", "\n".join(["http {", *groups, ""]), 1)


def _source(service: Service, directory: Path) -> Path:
    for volume in service.volumes:
        source, _, target = volume.partition(":")
        if target.startswith(CONFIGURATION):
            return directory / source
    raise NoStandIn(service.name, service.image, f"no volume gives it {CONFIGURATION}, so it cannot run here")
