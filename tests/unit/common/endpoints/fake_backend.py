"""A backend without ONNX Runtime: models that are functions, of one version or several, ready or not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.endpoints.backend import InferRequest, InferResponse
from common.errors import NotFound, NotReady
from common.protocol.tensors import Array, TensorSpec

Run = Callable[[dict[str, Array]], dict[str, Array]]


@dataclass
class FakeModel:
    """A model that is a function of its inputs."""

    name: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    run: Run
    version: str = "1"
    properties: Mapping[str, str] = field(default_factory=dict)
    example: Mapping[str, Any] = field(default_factory=dict)


class FakeBackend:
    """`asked` are the models that have been asked, by name."""

    platform = "fake"

    def __init__(self, *models: FakeModel, loading: str = "") -> None:
        self._models, self._loading = models, loading
        self.asked: list[str] = []

    def models(self) -> dict[str, list[str]]:
        names = dict.fromkeys(one.name for one in self._models)
        return {name: [one.version for one in self._models if one.name == name] for name in names}

    def resolve(self, name: str, version: str | None = None) -> FakeModel:
        if name == self._loading:
            raise NotReady(f"model {name!r} is not ready: loading", retry_after=1)
        for one in self._models:
            if one.name == name and version in (None, "", one.version):
                return one
        raise NotFound(f"no model {name!r} in version {version!r}")

    describe = resolve

    async def infer(self, request: InferRequest[FakeModel]) -> InferResponse:
        context, model = request.context, request.model
        request.check_output_names()
        context.deadline.check("inference started")
        context.model = model.name
        self.asked.append(model.name)
        outputs = model.run(request.inputs)
        wanted = {name: outputs[name] for name in request.outputs or outputs}
        return InferResponse(wanted, model.name, model.version)


def flowers() -> FakeModel:
    """Two named columns; the probability of the second class is the first column."""

    def run(inputs: dict[str, Array]) -> dict[str, Array]:
        share = inputs["x"][:, :1]
        scores = np.concatenate([1 - share, share], axis=1)
        return {"scores": scores, "label": scores.argmax(axis=1)}

    columns, labels = json.dumps(["length", "width"]), json.dumps(["rose", "daisy"])
    outputs = [TensorSpec("scores", "FP32", (-1, 2)), TensorSpec("label", "INT64", (-1,))]
    properties = {"task": "classification", "features": columns, "labels": labels}
    example = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.25, 1]}]}
    return FakeModel("flowers", [TensorSpec("x", "FP32", (-1, 2))], outputs, run, "3", properties, example)


def area() -> FakeModel:
    """Two named columns; the value is their product."""

    def run(inputs: dict[str, Array]) -> dict[str, Array]:
        return {"area": inputs["x"].prod(axis=1, keepdims=True)}

    properties = {"task": "regression", "features": json.dumps(["length", "width"])}
    return FakeModel(
        "area", [TensorSpec("x", "FP32", (-1, 2))], [TensorSpec("area", "FP32", (-1, 1))], run, "1", properties
    )


def captions(version: str = "1") -> FakeModel:
    """Text and a number each in, text and bytes out."""

    def run(inputs: dict[str, Array]) -> dict[str, Array]:
        texts = [text * int(times) for text, times in zip(inputs["text"], inputs["times"], strict=True)]
        repeated = np.array([one.decode() for one in texts], object)
        return {"caption": repeated, "png_bytes": np.array([b"\xff" + one for one in texts], object)}

    inputs = [TensorSpec("text", "BYTES", (-1,)), TensorSpec("times", "INT64", (-1,))]
    outputs = [TensorSpec("caption", "BYTES", (-1,)), TensorSpec("png_bytes", "BYTES", (-1,))]
    return FakeModel("captions", inputs, outputs, run, version)


def broken() -> FakeModel:
    """NaN for everything."""
    specs = [TensorSpec("x", "FP32", (-1, 1))], [TensorSpec("y", "FP32", (-1, 1))]
    return FakeModel("broken", *specs, lambda inputs: {"y": inputs["x"] * np.float32("nan")})
