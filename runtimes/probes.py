"""Readiness probes: HTTP and Redis."""

import http.client
import socket
from collections.abc import Callable

READY = "ready"
_LONGEST_ANSWER = 100_000


def http_ready(port: int, path: str = "/readyz", host: str = "127.0.0.1", timeout_seconds: float = 2) -> str:
    """READY if GET `path` returns 2xx, else a description of the response or error."""
    try:
        status, body = _get(port, path, host, timeout_seconds)
    except (OSError, http.client.HTTPException) as error:
        return f"GET {path} failed ({type(error).__name__}: {error})"
    return READY if 200 <= status < 300 else f"GET {path} returned {status} {body[:500].strip()}"


def unready_answer(port: int, host: str = "127.0.0.1", timeout_seconds: float = 0.5) -> str:
    """The body of a 503 of GET /readyz; empty if the service answers otherwise or not at all."""
    try:
        status, body = _get(port, "/readyz", host, timeout_seconds)
    except (OSError, http.client.HTTPException):
        return ""
    return body if status == 503 else ""


def _get(port: int, path: str, host: str, timeout_seconds: float) -> tuple[int, str]:
    """Status and body of GET `path`. Raises OSError, HTTPException."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(_LONGEST_ANSWER).decode(errors="replace")
    finally:
        connection.close()


def accepts_connections(port: int, host: str = "127.0.0.1", timeout_seconds: float = 2) -> bool:
    """Whether a TCP connection to this address succeeds."""
    try:
        socket.create_connection((host, port), timeout=timeout_seconds).close()
    except OSError:
        return False
    return True


def redis_ready(port: int, host: str = "127.0.0.1", timeout_seconds: float = 2) -> str:
    """READY if a Redis server replies to PING, else a description of the reply or error."""
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(100)
    except OSError as error:
        return f"PING failed ({error})"
    return READY if answer.startswith(b"+PONG") else f"PING returned {answer.decode(errors='replace').strip()}"


def run(probe: str, port: int, host: str = "127.0.0.1") -> str:
    """Run a probe given by name: `redis`, or an HTTP path. Returns READY or a description."""
    ask: Callable[[], str] = (
        (lambda: redis_ready(port, host)) if probe == "redis" else (lambda: http_ready(port, probe, host))
    )
    return ask()
