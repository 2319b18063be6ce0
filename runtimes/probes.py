"""Asks a service whether it is ready, the way its kind wants to be asked."""

import http.client
import socket
from collections.abc import Callable

READY = "ready"


def http_ready(port: int, path: str = "/readyz", host: str = "127.0.0.1", timeout_seconds: float = 2) -> str:
    """READY when GET `path` answers 2xx, else what it answered, in words."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read(500).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"{path} gave no answer ({type(error).__name__}: {error})"
    finally:
        connection.close()
    return READY if 200 <= response.status < 300 else f"{path} answered {response.status} {body}"


def listens(port: int, host: str = "127.0.0.1", timeout_seconds: float = 2) -> bool:
    """Whether somebody takes a connection there."""
    try:
        socket.create_connection((host, port), timeout=timeout_seconds).close()
    except OSError:
        return False
    return True


def redis_ready(port: int, timeout_seconds: float = 2) -> str:
    """READY when a Redis answers PING, else what it answered, in words."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_seconds) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(100)
    except OSError as error:
        return f"PING gave no answer ({error})"
    return READY if answer.startswith(b"+PONG") else f"PING answered {answer.decode(errors='replace').strip()}"


def named(probe: str, port: int) -> str:
    """Asks `port` by a probe's written name: `redis`, or an HTTP path."""
    ask: Callable[[], str] = (lambda: redis_ready(port)) if probe == "redis" else (lambda: http_ready(port, probe))
    return ask()
