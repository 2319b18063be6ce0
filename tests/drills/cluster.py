"""What the drills on a cluster have in common: load that counts every request, and what is done to pods meanwhile."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from runtimes.base import Stack
from runtimes.cluster import Namespace, Pod
from runtimes.errors import CommandFailed
from tests.load import Load, request
from tests.support import INFER, SETOSA, question

DEPLOYMENT = "deployment/api"
KEPT = request(INFER, question(SETOSA))
FRESH = request(INFER, question(SETOSA), Connection="close")


def right(body: bytes) -> bool:
    return body.startswith(b'{"model_name":"iris","model_version":"1","outputs":[')


def namespace(stack: Stack) -> Namespace:
    return Namespace(f"sp-{stack.name}")


@asynccontextmanager
async def unharmed(stack: Stack) -> AsyncIterator[None]:
    """Callers that keep their connections, and callers that open one a request: all are answered, whatever is done."""
    url = stack.url()
    kept, fresh = (Load(url, [one], right, callers=2) for one in (KEPT, FRESH))
    try:
        async with kept, fresh:
            await kept.answered(50)
            await fresh.answered(50)
            yield
    finally:  # also where something else has failed: callers that are refused end, and this is then the reason
        for load in (kept, fresh):
            tally = load.tally
            refused, lost, wrong = len(tally.refused_at), tally.lost[:5], tally.wrong[:5]
            told = f"sent {tally.sent}: {tally.statuses}, {refused} refused, lost {lost}, wrong {wrong}"
            assert (tally.statuses, refused, lost, wrong) == ({200: tally.sent}, 0, [], []), told


def running(space: Namespace) -> list[Pod]:
    """The pods that serve, without those that are leaving."""
    return [pod for pod in space.pods() if pod.ready]


def rolled_out(space: Namespace, seconds: int = 60) -> None:
    """Returns when the newest version has all its replicas, ready."""
    space.kubectl("rollout", "status", DEPLOYMENT, f"--timeout={seconds}s", timeout_seconds=seconds + 10)


def gone(space: Namespace, pods: list[Pod], seconds: int = 60) -> None:
    """Returns when these pods have ended."""
    names = [f"pod/{pod.id}" for pod in pods]
    space.kubectl("wait", "--for=delete", *names, f"--timeout={seconds}s", timeout_seconds=seconds + 10)


def reached(space: Namespace, what: str, count: int, seconds: int) -> None:
    """Returns when the Deployment's status says so many `replicas`, or `readyReplicas`."""
    wanted = f"--for=jsonpath={{.status.{what}}}={count}"
    space.kubectl("wait", wanted, DEPLOYMENT, f"--timeout={seconds}s", timeout_seconds=seconds + 10)


def patch(space: Namespace, spec: dict[str, Any]) -> None:
    """Changes the Deployment."""
    space.kubectl("patch", DEPLOYMENT, "--patch", json.dumps({"spec": spec}))


def run_in(space: Namespace, pod: str, script: str) -> str:
    """What a shell script says in a pod; its failures count for nothing."""
    return space.kubectl("exec", pod, "--container", "app", "--", "sh", "-c", f"({script}) 2>&1 || true")


def apply(space: Namespace, folder: Path, *trees: dict[str, Any]) -> None:
    """Creates or changes objects. Raises CommandFailed where the cluster refuses one."""
    file = folder / "applied.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": trees}))
    space.kubectl("apply", "--filename", str(file))


def evict(space: Namespace, pod: Pod, folder: Path) -> bool:
    """Asks for a pod's eviction, as draining its node does; whether the disruption budget allows it now."""
    file = folder / "eviction.json"
    named = {"name": pod.id, "namespace": space.name}
    file.write_text(json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": named}))
    path = f"/api/v1/namespaces/{space.name}/pods/{pod.id}/eviction"
    try:
        space.kubectl("create", "--raw", path, "--filename", str(file))
    except CommandFailed as error:
        if "disruption budget" not in str(error):
            raise
        return False
    return True
