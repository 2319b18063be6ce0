"""On a cluster: load raises the replicas by the CPU that they use, and they come down again."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtimes import cluster
from runtimes.base import Stack
from tests.conftest import Start
from tests.drills.cluster import apply, namespace, reached, unharmed

pytestmark = [pytest.mark.runs_on("kubernetes"), pytest.mark.minutes]

KUBERNETES = Path(__file__).parents[3] / "k8s"
# five minutes unless it is said: longer than a drill is patient
SOON = {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 10}}}}


@pytest.fixture(scope="module")
def stack(start_cluster: Start) -> Stack:
    return start_cluster("web_single")


def autoscaler(folder: Path) -> dict[str, Any]:
    """What the component adds to the pattern, coming down sooner."""
    named = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "entry"}}
    parts = (KUBERNETES / "patterns" / "web_single", KUBERNETES / "components" / "autoscaling")
    base, component = (os.path.relpath(part, folder.resolve()) for part in parts)
    overlay = {"resources": [base], "components": [component], "patches": [{"patch": json.dumps(named | SOON)}]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    rendered = yaml.safe_load_all(cluster.kubectl("kustomize", str(folder)))
    (found,) = (tree for tree in rendered if tree["kind"] == "HorizontalPodAutoscaler")
    return dict(found)


async def test_load_raises_the_replicas_to_three_and_they_come_down_again(stack: Stack, tmp_path: Path) -> None:
    space = namespace(stack)
    apply(space, tmp_path, autoscaler(tmp_path))
    async with unharmed(stack):
        await asyncio.to_thread(reached, space, "readyReplicas", 3, 90)
    await asyncio.to_thread(reached, space, "replicas", 1, 150)
