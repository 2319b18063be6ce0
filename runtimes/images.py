"""Brings images from this machine's container engine into a cluster."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable

from runtimes import cluster, engine
from runtimes.base import say

_LOAD_SECONDS = 600


def bring_in(names: Iterable[str], prefix: str, load_command: str) -> dict[str, str]:
    """Leads from the manifests' names to those that the cluster knows, once it holds the images.

    `load_command` is run for each image that some node lacks, with the image's name behind it; without a command the
    nodes have to find the images themselves. Raises CommandFailed.
    """
    images = {name: _tagged(name, prefix) for name in names}
    for image in sorted(set(images.values()) - _held_by_all_nodes()) if load_command else []:
        say(f"bringing in {image}")
        engine.run([*shlex.split(load_command), image], timeout_seconds=_LOAD_SECONDS)
    return images


def _tagged(image: str, prefix: str) -> str:
    """Ours by what is in it, so that a cluster never runs what a tag meant before."""
    name, _, tag = image.rpartition(":")
    if not name.startswith("serving-patterns/"):
        return image
    content = engine.run(["docker", "image", "inspect", "--format", "{{.Id}}", image]).removeprefix("sha256:")
    tagged = f"{prefix}{name}:{tag}-{content[:12]}"
    engine.run(["docker", "tag", image, tagged])
    return tagged


def _held_by_all_nodes() -> set[str]:
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output", "json"))["items"]
    told = [node["status"].get("images") or [] for node in nodes]  # an image without a name says null
    held = [{name for image in images for name in image.get("names") or []} for images in told]
    return {name.removeprefix("docker.io/").removeprefix("library/") for name in set.intersection(*held)}
