"""Runs the container engine's command line, always with a time limit."""

import os
import shutil
import subprocess
from collections.abc import Mapping

from runtimes.errors import CommandFailed, EngineMissing


def missing() -> str | None:
    """Why containers cannot be run here, or None when an engine with Compose v2 answers."""
    if not shutil.which("docker"):
        return "docker is not installed"
    for command, reason in (
        (["docker", "info", "--format", "{{.ServerVersion}}"], "the docker engine does not answer"),
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
    """This process's environment with `variables` in it, for a command that fills in a compose file."""
    return {**os.environ, **variables}


def run(command: list[str], variables: Mapping[str, str] | None = None, timeout_seconds: float = 60) -> str:
    """Standard output of `command`; `variables` join the environment. Raises CommandFailed, EngineMissing."""
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
        raise EngineMissing(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(command, -1, f"no answer within {timeout_seconds:.0f} s") from None
    if done.returncode != 0:
        raise CommandFailed(command, done.returncode, done.stderr or done.stdout)
    return done.stdout
