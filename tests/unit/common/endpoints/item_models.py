"""Models whose manifest has preprocessing, as functions: of a picture's mean colour, and of named values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.inference.manifest import Manifest
from common.protocol.tensors import Array, TensorSpec
from tests.unit.common.endpoints.fake_backend import FakeModel
from tests.unit.common.preprocessing.manifests import manifest

PICTURE_STEPS: list[Any] = [
    {"decode": "rgb"}, {"resize": {"width": 2, "height": 2, "filter": "nearest"}},
    {"normalise": {"mean": 0.0, "scale": 255.0}}, {"layout": "NCHW"},
]  # fmt: skip
COLOURS = ["red", "green", "blue"]


@dataclass
class ItemModel(FakeModel):
    """A model with a manifest."""

    manifest: Manifest | None = None


def colours() -> ItemModel:
    """The mean of each colour, from 0 to 1, as the probability of its name."""

    def run(inputs: dict[str, Array]) -> dict[str, Array]:
        return {"probabilities": inputs["image"].mean(axis=(2, 3)).astype(np.float32)}

    properties = {"task": "image-classification", "labels": json.dumps(COLOURS)}
    inputs, outputs = TensorSpec("image", "FP32", (-1, 3, 2, 2)), TensorSpec("probabilities", "FP32", (-1, 3))
    told = manifest(PICTURE_STEPS, [-1, 3, 2, 2])
    return ItemModel("colours", [inputs], [outputs], run, properties=properties, manifest=told)


def sums() -> ItemModel:
    """The sum of two named values."""

    def run(inputs: dict[str, Array]) -> dict[str, Array]:
        return {"sum": inputs["row"].sum(axis=1, keepdims=True)}

    inputs, outputs = TensorSpec("row", "FP32", (-1, 2)), TensorSpec("sum", "FP32", (-1, 1))
    told = manifest([{"order": ["a", "b"]}, {"cast": "FP32"}], [-1, 2], "row")
    return ItemModel("sums", [inputs], [outputs], run, properties={"task": "regression"}, manifest=told)


def lengths() -> ItemModel:
    """Weights of the words of a text."""
    steps: list[Any] = [
        {"clean": {"form": "NFC", "lowercase": True, "longest": 200}},
        {"ngrams": {"of": "words", "shortest": 1, "longest": 1}},
        {"tfidf": {"sublinear": False, "idf": {"naive": 1.0}}}, {"cast": "FP32"},
    ]  # fmt: skip
    inputs, outputs = TensorSpec("row", "FP32", (-1, 1)), TensorSpec("sum", "FP32", (-1, 1))
    told = manifest(steps, [-1, 1], "row")
    return ItemModel("lengths", [inputs], [outputs], lambda one: {"sum": one["row"]}, manifest=told)
