"""Manifests that differ in their preprocessing alone."""

from __future__ import annotations

from typing import Any

from common.inference.manifest import Manifest

PICTURE = [-1, 3, 96, 96]


def manifest(
    steps: list[Any], shape: list[int] | None = None, name: str = "image", *, stated: str = "", datatype: str = "FP32"
) -> Manifest:
    """A model with one input of this name, shape and datatype, which states a fingerprint or none."""
    return Manifest.model_validate(
        {
            "name": "toy",
            "version": "1",
            "inputs": [{"name": name, "datatype": datatype, "shape": shape or PICTURE}],
            "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}],
            "preprocessing": {"steps": steps, "fingerprint": stated},
            "sha256": "0" * 64,
        }
    )
