"""Readiness probes: HTTP and Redis."""

import http.client
import socket
from collections.abc import Callable

READY = "ready"


def http_ready(port: int, path: str = "/readyz", host: str = "127.0.0.1", timeout_seconds: float = 2) -> str:
    """READY if GET `path` returns 2xx, else a description of the response or error."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read(500).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"GET {path} failed ({type(error).__name__}: {error})"
    finally:
        connection.close()
    return READY if 200 <= response.status < 300 else f"GET {path} returned {response.status} {body}"


def accepts_connections(port: int, host: str = "127.0.0.1", timeout_seconds: float = 2) -> bool:
    """Whether a TCP connection to this address succeeds."""
    try:
        socket.create_connection((host, port), timeout=timeout_seconds).close()
    except OSError:
        return False
    return True


def redis_ready(port: int, timeout_seconds: float = 2) -> str:
    """READY if a Redis server replies to PING, else a description of the reply or error."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_seconds) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(100)
    except OSError as error:
        return f"PING failed ({error})"
    return READY if answer.startswith(b"+PONG") else f"PING returned {answer.decode(errors='replace').strip()}"


def run(probe: str, port: int) -> str:
    """Run a probe given by name: `redis`, or an HTTP path. Returns READY or a description."""
    ask: Callable[[], str] = (lambda: redis_ready(port)) if probe == "redis" else (lambda: http_ready(port, probe))
    return ask()
