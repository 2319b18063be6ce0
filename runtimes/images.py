"""Loads images of this machine's container engine into a cluster."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable

from runtimes import cluster, engine
from runtimes.base import print_progress

_LOAD_SECONDS = 600


def load_images(names: Iterable[str], prefix: str, load_command: str) -> dict[str, str]:
    """Tag the images and load them into the cluster. Returns the tagged name of each image in the manifests.

    `load_command` runs for each image that a node does not have, with the name of the image as its last argument.
    Without a command, the nodes must be able to pull the images. Raises CommandFailed.
    """
    images = {name: _tagged(name, prefix) for name in names}
    for image in sorted(set(images.values()) - _held_by_all_nodes()) if load_command else []:
        print_progress(f"loading {image} into the cluster")
        engine.run([*shlex.split(load_command), image], timeout_seconds=_LOAD_SECONDS)
    return images


def _tagged(image: str, prefix: str) -> str:
    """Tag one of our images with its content hash, so that a cluster never runs an older image of the same tag."""
    name, _, tag = image.rpartition(":")
    if not name.startswith("serving-patterns/"):
        return image
    content = engine.run(["docker", "image", "inspect", "--format", "{{.Id}}", image]).removeprefix("sha256:")
    tagged = f"{prefix}{name}:{tag}-{content[:12]}"
    engine.run(["docker", "tag", image, tagged])
    return tagged


def _held_by_all_nodes() -> set[str]:
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output", "json"))["items"]
    listed = [node["status"].get("images") or [] for node in nodes]  # `names` is null for an untagged image
    held = [{name for image in images for name in image.get("names") or []} for images in listed]
    return {name.removeprefix("docker.io/").removeprefix("library/") for name in set.intersection(*held)}
