"""Writes the kustomize overlay of a stack: its namespace, settings, images and node ports."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from runtimes.cluster import COMPONENT, INSTANCE, instance_names

Tree = dict[str, Any]
ENTRY = "entry"


def write(
    folder: Path,
    manifests: Path,
    rendered: list[Tree],
    namespace: str,
    environment: Mapping[str, Mapping[str, str]],
    images: Mapping[str, str],
) -> None:
    """Write the overlay of `manifests` to `folder`.

    `rendered` are the objects of the manifests. `environment` are the variables to set for each service, and `images`
    the name and tag in the cluster of each image.
    """
    workloads = [tree for tree in rendered if tree["kind"] in ("Deployment", "StatefulSet")]
    _dump(folder / "added.yaml", [_namespace(namespace), *[one for tree in workloads for one in _direct(tree)]])
    kustomization = {
        "namespace": namespace,
        "resources": ["added.yaml", os.path.relpath(manifests.resolve(), folder.resolve())],
        "images": [_image(name, image) for name, image in sorted(images.items())],
        "patches": [
            # so that a shell in the container can send signals to the main process
            *[_patch(tree, {"shareProcessNamespace": True}) for tree in workloads],
            *[_patch(tree, _settings(environment.get(tree["metadata"]["name"], {}))) for tree in workloads],
            {"patch": json.dumps({"kind": "Service", "metadata": {"name": ENTRY}, "spec": {"type": "NodePort"}} | _V1)},
        ],
    }
    _dump(folder / "kustomization.yaml", [kustomization])


def images_of(rendered: list[Tree]) -> set[str]:
    """The images of all containers and init containers of these objects."""
    pods = [tree["spec"]["template"]["spec"] for tree in rendered if "template" in tree.get("spec", {})]
    return {one["image"] for pod in pods for one in [*pod.get("initContainers", []), *pod["containers"]]}


_V1 = {"apiVersion": "v1"}


def _namespace(name: str) -> Tree:
    labels = {"app.kubernetes.io/part-of": "serving-patterns", "pod-security.kubernetes.io/enforce": "restricted"}
    return {**_V1, "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _direct(workload: Tree) -> list[Tree]:
    """A NodePort Service for each replica, which reaches it from outside of the cluster whether it is ready or not."""
    name, replicas = workload["metadata"]["name"], workload["spec"].get("replicas", 1)
    (app,) = (one for one in workload["spec"]["template"]["spec"]["containers"] if one["name"] == "app")
    ports = [{"name": port["name"], "port": port["containerPort"]} for port in app["ports"]]
    return [
        {
            **_V1,
            "kind": "Service",
            "metadata": {"name": f"direct-{instance}"},
            "spec": {
                "type": "NodePort",
                "publishNotReadyAddresses": True,
                "selector": {COMPONENT: name} | ({INSTANCE: instance} if replicas > 1 else {}),
                "ports": ports,
            },
        }
        for instance in instance_names(name, replicas)
    ]


def _settings(environment: Mapping[str, str]) -> Tree:
    variables = [{"name": name, "value": value} for name, value in sorted(environment.items())]
    return {"containers": [{"name": "app", "env": variables}]}


def _patch(workload: Tree, pod: Tree) -> Tree:
    patch = {
        "apiVersion": workload["apiVersion"],
        "kind": workload["kind"],
        "metadata": {"name": workload["metadata"]["name"]},
        "spec": {"template": {"spec": pod}},
    }
    return {"patch": json.dumps(patch)}


def _image(name: str, image: str) -> Tree:
    new_name, _, tag = image.rpartition(":")
    return {"name": name.partition(":")[0], "newName": new_name, "newTag": tag}


def _dump(path: Path, documents: list[Tree]) -> None:
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
