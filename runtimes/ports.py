"""Finds free ports, and the process that uses a port."""

import contextlib
import errno
import os
import random
import shutil
import socket
import subprocess
from pathlib import Path

from runtimes.errors import StackError

_CANDIDATES = range(20000, 30000)


def free_ports(count: int) -> list[int]:
    """`count` different ports that no process listens on.

    They are below the node ports of Kubernetes (from 30000) and the ephemeral ports (from 32768 on Linux, from 49152 on
    macOS): an outgoing connection could otherwise take the port of a service while it restarts.
    """
    found: list[int] = []
    for port in random.sample(_CANDIDATES, len(_CANDIDATES)):
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    return found


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether no server listens on this port of an address of this machine. Raises StackError for another address.

    A port that needs more rights than this process has counts as free: the container engine may have them.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                expected = "expected an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all"
                raise StackError(f"cannot listen on {host}: {error.strerror}; {expected}") from None
            return error.errno == errno.EACCES
        return True


def reachable(ip: str) -> str:
    """The address at which this machine reaches a server that listens on `ip`."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(ip, ip)


def in_url(host: str) -> str:
    """An address as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def owner(port: int) -> str:
    """The container or process that listens on a port, for an error message."""
    return _container_on(port) or _process_on(port) or "another process"


def _container_on(port: int) -> str:
    if not shutil.which("docker"):
        return ""
    command = ["docker", "ps", "--filter", f"publish={port}", "--format", "{{.Names}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except subprocess.TimeoutExpired:
        return ""
    names = done.stdout.split() if done.returncode == 0 else []
    return f"the container {names[0]}" if names else ""


def _process_on(port: int) -> str:
    sockets = _listening_sockets(port)
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(descriptor) in sockets:
                process = descriptor.parents[1]
                words = (process / "cmdline").read_text().split("\0")
                return f"process {process.name} ({' '.join(words).strip()[:80]})"
    return ""


def _listening_sockets(port: int) -> set[str]:
    """The listening sockets on a port, as the links in /proc/<pid>/fd name them (proc(5), net/tcp)."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            found |= {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}
    return found
