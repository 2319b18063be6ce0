"""What drills do to services, each undone at the end of its block, and how they see what came of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from runtimes import containers
from runtimes.base import Stack
from tests.support import client, direct_url, eventually, readiness


@contextmanager
def killed(stack: Stack, service: str) -> Iterator[None]:
    """SIGKILL; the service is started again, and ready, afterwards."""
    stack.kill(service)
    try:
        yield
    finally:
        stack.start(service)


@contextmanager
def frozen(stack: Stack, service: str) -> Iterator[None]:
    """The service's sockets stay open, and nothing answers."""
    stack.freeze(service)
    try:
        yield
    finally:
        stack.thaw(service)


def switch(stack: Stack, service: str, **faults: object) -> None:
    """Sets the faults in the runs of a service's models; without any, its models run as they should."""
    response = client().post(f"{stack.url(service)}/faults", json=faults)
    assert response.status_code == 200, response.text


@contextmanager
def switched(stack: Stack, service: str, **faults: object) -> Iterator[None]:
    """A service whose model is slow, fails or gives wrong outputs."""
    switch(stack, service, **faults)
    try:
        yield
    finally:
        switch(stack, service)


def kill_and_await_restart(stack: Stack, service: str) -> None:
    """Kills what runs in a service, and returns once it has been started again, ready or not.

    A container is started by its engine, as its restart policy says; nothing watches over local processes.
    """
    if stack.runtime != "compose":
        stack.kill(service)
        stack.start(service, wait=False)
        return
    (container,) = _of(stack, service)
    # `docker kill` would count as a stop by hand, after which the engine restarts nothing
    kill_all = ["python", "-c", "import os, signal; os.kill(-1, signal.SIGKILL)"]
    subprocess.run(["docker", "exec", container.id, *kill_all], check=False, capture_output=True, timeout=60)
    eventually(lambda: _restarted(stack, service), 30, f"the engine has started {service} again")


def _of(stack: Stack, service: str) -> list[containers.Container]:
    return [one for one in containers.of_project(f"sp-{stack.name}") if service in (one.service, one.name)]


def _restarted(stack: Stack, service: str) -> bool:
    (container,) = _of(stack, service)
    return container.crashed and container.state in ("starting", "ready")


def uptime(stack: Stack, service: str) -> float:
    """For how many seconds a service's process has been running."""
    (found,) = (one.uptime_seconds for one in stack.status() if one.service == service)
    assert found is not None, f"{service} is not running"
    return found


def unready(stack: Stack, service: str) -> str:
    """Why a service says that it is not ready; empty while it is."""
    response = readiness(stack, service)
    return "" if response.status_code == 200 else "; ".join(response.json()["reasons"])


def is_alive(stack: Stack, service: str) -> bool:
    return httpx.get(f"{direct_url(stack, service)}/livez", timeout=10).status_code == 200
