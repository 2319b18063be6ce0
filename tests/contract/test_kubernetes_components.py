"""Components on top of a pattern: they render, are valid, do what they are for, and have a page that shows them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contract.manifests import KUBERNETES, Manifests, Tree, render
from tests.contract.schemas import VERSIONS, faults
from tests.contract.sources import named, rule

KUSTOMIZATIONS = sorted(path.parent for path in KUBERNETES.rglob("kustomization.yaml"))
ADDED = [path for path in KUSTOMIZATIONS if "kind: Component" in (path / "kustomization.yaml").read_text()]
LONGEST_PAGE = 60  # lines of a component's README

WORKER = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: worker
  labels: {app.kubernetes.io/component: worker}
  annotations:
    serving-patterns/queue-address: "redis.some-namespace.svc:6379"
    serving-patterns/queue-stream: some-jobs
    serving-patterns/queue-group: some-workers
spec:
  selector: {matchLabels: {app.kubernetes.io/component: worker}}
  template:
    metadata: {labels: {app.kubernetes.io/component: worker}}
    spec: {containers: [{name: app, image: "serving-patterns/api:0.1.0"}]}
"""


def added_to(folder: Path, component: Path, *resources: str) -> Manifests:
    """web_single, or `resources`, with a component on top."""
    above = os.path.relpath(KUBERNETES.resolve(), folder.resolve())
    kustomization = {
        "resources": resources or [f"{above}/patterns/web_single"],
        "components": [f"{above}/{component.relative_to(KUBERNETES).as_posix()}"],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return render(folder)


def the(manifests: Manifests, kind: str) -> Tree:
    (found,) = manifests.of(kind)
    return found


@pytest.mark.parametrize("component", ["autoscaling", "monitoring"])
def test_a_component_goes_on_top_of_a_pattern(component: str, tmp_path: Path) -> None:
    manifests = added_to(tmp_path, KUBERNETES / "components" / component)
    assert [fault for version in VERSIONS for fault in faults(manifests.objects, version)] == []


def test_a_component_has_its_page() -> None:
    with rule("a component's README says in a few lines what it adds") as offenders:
        for folder in ADDED:
            page = folder / "README.md"
            where, text = page.relative_to(KUBERNETES.parent).as_posix(), page.read_text() if page.exists() else ""
            offenders.compare(f"{where}: its first line", text.partition("\n")[0], f"# {folder.name}")
            lines = len(text.splitlines())
            offenders.require(lines <= LONGEST_PAGE, where, f"{lines} lines", f"at most {LONGEST_PAGE}")


def test_the_entry_is_what_grows_with_its_load(tmp_path: Path) -> None:
    manifests = added_to(tmp_path, KUBERNETES / "components" / "autoscaling")
    spec = the(manifests, "HorizontalPodAutoscaler")["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 3)


def test_monitoring_reaches_every_service_that_tells_its_metrics(tmp_path: Path) -> None:
    manifests = added_to(tmp_path, KUBERNETES / "components" / "monitoring")
    spec: Any = the(manifests, "ServiceMonitor")["spec"]
    (endpoint,) = spec["endpoints"]
    assert endpoint["path"] == "/metrics"
    assert endpoint["port"] in [port["name"] for port in manifests.services["entry"]["spec"]["ports"]]


def test_workers_grow_with_the_queue_that_they_name(tmp_path: Path) -> None:
    (tmp_path / "worker.yaml").write_text(WORKER)
    manifests = added_to(tmp_path, KUBERNETES / "components" / "queue-scaling", "worker.yaml")
    spec: Any = the(manifests, "ScaledObject")["spec"]
    (trigger,) = spec["triggers"]
    assert spec["scaleTargetRef"] == {"name": "worker"}
    assert trigger["type"] == "redis-streams"
    assert trigger["metadata"]["address"] == "redis.some-namespace.svc:6379"
    assert trigger["metadata"]["stream"] == "some-jobs"
    assert trigger["metadata"]["consumerGroup"] == "some-workers"


# --- pages


def test_manifests_in_a_page_are_valid() -> None:
    with rule("the manifests that a page shows can be applied") as offenders:
        for page in (one for one in named("README.md") if one.name.startswith("k8s/")):
            blocks = re.findall(r"^```yaml\n(.*?)^```$", page.text, re.M | re.S)
            trees = [tree for block in blocks for tree in yaml.safe_load_all(block)]
            objects = [tree for tree in trees if tree.get("kind") not in (None, "Kustomization")]
            for fault in faults(objects, VERSIONS[-1]):
                offenders.add(page.name, fault, f"an object of Kubernetes {VERSIONS[-1]}")


def test_the_table_names_every_component() -> None:
    table = (KUBERNETES / "README.md").read_text()
    with rule("k8s/README.md has every component") as offenders:
        for folder in (path for path in ADDED if path.parent.name == "components"):
            listed = re.search(rf"\]\(components/{re.escape(folder.name)}/?\)", table)
            offenders.require(
                bool(listed), "k8s/README.md", f"no link to {folder.name}", f"](components/{folder.name}/)"
            )
