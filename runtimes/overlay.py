"""Writes the kustomize overlay of a stack: its namespace, settings, images, replicas and node ports."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from runtimes.api_keys import SETTING
from runtimes.cluster import COMPONENT, INSTANCE, instance_names

Tree = dict[str, Any]
ENTRY = "entry"
_COMPONENTS = Path(__file__).resolve().parents[1] / "k8s" / "components"
# settings that a Secret carries: those of the stores that MODEL_URI may name
_CREDENTIAL = re.compile("AWS_|GOOGLE_|AZURE_")


def write(
    folder: Path,
    manifests: Path,
    rendered: list[Tree],
    namespace: str,
    environment: Mapping[str, Mapping[str, str]],
    images: Mapping[str, str],
    replicas: Mapping[str, int] | None = None,
    keys: str | None = None,
) -> None:
    """Write the overlay of `manifests` to `folder`.

    `rendered` are the objects of the manifests. `environment` are the variables to set for each service, `images` the
    name and tag in the cluster of each image, `replicas` the numbers of replicas that differ from the manifests', and
    `keys` the content of API_KEYS_FILE, if there is one.
    """
    counts = replicas or {}
    workloads = [tree for tree in rendered if tree["kind"] in ("Deployment", "StatefulSet")]
    direct = [one for tree in workloads for one in _direct(tree, counts)]
    credentials = {key: v for one in environment.values() for key, v in one.items() if _CREDENTIAL.match(key)}
    secrets = {"model-store": credentials, "api-keys": {} if keys is None else {"keys": keys}}
    used = [name for name, content in secrets.items() if content]
    _dump(folder / "added.yaml", [_namespace(namespace), *direct, *(_secret(name, secrets[name]) for name in used)])
    stored = any("MODEL_URI" in one for one in environment.values())
    components = sorted({*used, *(["model-store"] if stored else [])})
    kustomization = {
        "namespace": namespace,
        "resources": ["added.yaml", _relative(manifests, folder)],
        "components": [_relative(_COMPONENTS / name, folder) for name in components],
        "images": [_image(name, image) for name, image in sorted(images.items())],
        "replicas": [{"name": name, "count": count} for name, count in sorted(counts.items())],
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


def _secret(name: str, content: Mapping[str, str]) -> Tree:
    return {**_V1, "kind": "Secret", "metadata": {"name": name}, "stringData": dict(content)}


def _namespace(name: str) -> Tree:
    labels = {"app.kubernetes.io/part-of": "serving-patterns", "pod-security.kubernetes.io/enforce": "restricted"}
    return {**_V1, "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _direct(workload: Tree, counts: Mapping[str, int]) -> list[Tree]:
    """A NodePort Service for each replica, which reaches it from outside of the cluster whether it is ready or not."""
    name = workload["metadata"]["name"]
    replicas = counts.get(name, workload["spec"].get("replicas", 1))
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
    plain = {name: value for name, value in environment.items() if not (_CREDENTIAL.match(name) or name == SETTING)}
    variables = [{"name": name, "value": value} for name, value in sorted(plain.items())]
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


def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(path.resolve(), folder.resolve())


def _dump(path: Path, documents: list[Tree]) -> None:
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
