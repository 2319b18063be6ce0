"""Runs commands of the container engine, always with a timeout."""

import os
import shutil
import subprocess
from collections.abc import Mapping

from runtimes.errors import CommandFailed, EngineUnavailable


def unavailable_reason() -> str | None:
    """Why containers cannot be started on this machine; None if Docker with Compose v2 is running."""
    if not shutil.which("docker"):
        return "docker is not installed"
    for command, reason in (
        (["docker", "info", "--format", "{{.ServerVersion}}"], "the docker daemon is not running or not reachable"),
        (["docker", "compose", "version", "--short"], "docker compose v2 is not installed"),
    ):
        try:
            done = subprocess.run(command, capture_output=True, timeout=10, check=False)
        except subprocess.TimeoutExpired:
            return reason
        if done.returncode != 0:
            return reason
    return None


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """This process's environment and `variables`, for a command that interpolates a compose file."""
    return {**os.environ, **variables}


def run(command: list[str], variables: Mapping[str, str] | None = None, timeout_seconds: float = 60) -> str:
    """Run a command with `variables` added to the environment. Returns standard output.

    Raises CommandFailed if it fails or exceeds the timeout, EngineUnavailable if it is not installed.
    """
    try:
        done = subprocess.run(
            command,
            env=environment(variables or {}),
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError:
        raise EngineUnavailable(f"{command[0]} is not installed; install it and make sure that it is on PATH") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(command, -1, f"it did not finish within {timeout_seconds:.0f} s") from None
    if done.returncode != 0:
        raise CommandFailed(command, done.returncode, done.stderr or done.stdout)
    return done.stdout
