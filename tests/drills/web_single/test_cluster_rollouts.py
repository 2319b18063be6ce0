"""On a cluster: a rolling update loses no request, and one that cannot serve stops beside the old version."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtimes.base import Stack
from runtimes.cluster import Namespace, Pod
from runtimes.errors import CommandFailed
from tests.conftest import Start
from tests.drills.cluster import DEPLOYMENT, apply, gone, namespace, patch, rolled_out, running, unharmed
from tests.support import eventually

pytestmark = pytest.mark.runs_on("kubernetes")

MODEL_FILE = "/app/models/build/iris/1/model.onnx"


@pytest.fixture(scope="module")
def stack(start_cluster: Start) -> Stack:
    return start_cluster("web_single", "replicas")


@pytest.fixture
def space(stack: Stack) -> Namespace:
    return namespace(stack)


@pytest.fixture
def given_up_soon(space: Namespace) -> Iterator[None]:
    """A rollout that gets no further is given up after seconds, not after two minutes."""
    patch(space, {"progressDeadlineSeconds": 5})
    yield
    patch(space, {"progressDeadlineSeconds": 120})


async def test_a_rolling_update_loses_no_request(stack: Stack, space: Namespace) -> None:
    before = await asyncio.to_thread(running, space)
    async with unharmed(stack):
        await asyncio.to_thread(space.kubectl, "rollout", "restart", DEPLOYMENT)
        await asyncio.to_thread(rolled_out, space)
        await asyncio.to_thread(gone, space, before)
    assert len(before) == len(running(space)) == 2


def wrong_image(space: Namespace, folder: Path) -> None:
    image = running(space)[0].image.rpartition(":")[0]
    space.kubectl("set", "image", DEPLOYMENT, f"app={image}:nope")


def missing_model(space: Namespace, folder: Path) -> None:
    space.kubectl("set", "env", DEPLOYMENT, "MODEL=tulips")


def broken_model(space: Namespace, folder: Path) -> None:
    """Another file in the model's place."""
    file: dict[str, Any] = {"metadata": {"name": "broken"}, "data": {"model.onnx": "this is no model"}}
    apply(space, folder, {"apiVersion": "v1", "kind": "ConfigMap", **file})
    mounts = [{"name": "broken", "mountPath": MODEL_FILE, "subPath": "model.onnx"}]
    pod = {
        "containers": [{"name": "app", "volumeMounts": mounts}],
        "volumes": [{"name": "broken", "configMap": {"name": "broken"}}],
    }
    patch(space, {"template": {"spec": pod}})


def troubles(space: Namespace, late: Pod) -> list[str]:
    """Why a pod does not serve: why it was not started, or what it has logged of its model."""
    (pod,) = [pod for pod in space.pods() if pod.id == late.id]
    if not pod.running:
        return [pod.message] if pod.image_missing else []
    lines = [json.loads(text) for text in space.last_lines(pod, 100).splitlines() if text.startswith("{")]
    return [line["reason"] for line in lines if line["event"] == "model not loaded"]


SPOILT: dict[Callable[[Namespace, Path], None], str] = {
    wrong_image: ":nope",
    missing_model: "tulips: there is no folder with a version",
    broken_model: "sha256",
}


@pytest.mark.usefixtures("given_up_soon")
@pytest.mark.parametrize("spoil", SPOILT, ids=[spoil.__name__ for spoil in SPOILT])
async def test_a_rollout_that_cannot_serve_stops_and_the_old_version_serves_all_along(
    stack: Stack, space: Namespace, spoil: Callable[[Namespace, Path], None], tmp_path: Path
) -> None:
    before = await asyncio.to_thread(running, space)
    async with unharmed(stack):
        await asyncio.to_thread(spoil, space, tmp_path)
        with pytest.raises(CommandFailed, match="exceeded its progress deadline"):
            await asyncio.to_thread(rolled_out, space)
        (late,) = [pod for pod in await asyncio.to_thread(space.pods) if not pod.ready]
        (told,) = await asyncio.to_thread(eventually, lambda: troubles(space, late), 30, "the new pod says why")
        assert SPOILT[spoil] in told
        await asyncio.to_thread(space.kubectl, "rollout", "undo", DEPLOYMENT)
        await asyncio.to_thread(rolled_out, space)
        await asyncio.to_thread(gone, space, [late])
    assert running(space) == before
