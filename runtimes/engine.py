"""Runs commands of the container engine, always with a timeout."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping

from runtimes.errors import CommandFailed, EngineUnavailable

BUILD_SECONDS = 1800.0
LAST_LINES = 40


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


def build(
    command: list[str], variables: Mapping[str, str] | None = None, timeout_seconds: float = BUILD_SECONDS
) -> None:
    """Run a command that builds images; a terminal shows its progress.

    Raises CommandFailed with the last lines of the output, which have the reason.
    """
    given = {**environment(variables or {}), "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"}
    if sys.stderr.isatty():
        given.pop("BUILDKIT_PROGRESS")
        done = subprocess.run(command, env=given, stdout=sys.stderr, check=False)
        if done.returncode != 0:
            raise CommandFailed(command, done.returncode, "the images could not be built; see the output above")
        return
    try:
        run(["sh", "-c", 'exec "$0" "$@" 2>&1', *command], given, timeout_seconds)
    except CommandFailed as error:
        lines = error.output.strip().splitlines()
        raise CommandFailed(command, error.code, "\n".join(lines[-LAST_LINES:])) from None


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
