"""`model.yaml`: what a model says of itself. Written by whoever builds the model, read by whatever serves it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import ServingError
from common.protocol.tensors import DATATYPES, TensorSpec

# libyaml's, ten times as fast, where PyYAML was built with it
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ModelLoadError(ServingError):
    """A model that cannot be served, and why; its text is one line for the operator."""

    status, grpc_code, title = 503, "UNAVAILABLE", "The model cannot be loaded"


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Feature(Part):
    """A named column of an input tensor; the range is the one seen in training."""

    name: str
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    example: float | None = None
    description: str = ""


class TensorEntry(Part):
    name: str
    datatype: Literal[tuple(DATATYPES)]  # type: ignore[valid-type]  # pydantic reads the names at run time
    shape: list[int]
    features: list[Feature] = []
    description: str = ""

    def spec(self) -> TensorSpec:
        return TensorSpec(self.name, self.datatype, tuple(self.shape))


class Batching(Part):
    """`tolerance`: how far an answer may differ when it is computed beside other rows."""

    tolerance: float = Field(ge=0)


class Preprocessing(Part):
    steps: list[Any] = []
    fingerprint: str = ""


class Manifest(Part):
    """One version of one model."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    version: str = Field(pattern=r"^[0-9]{1,18}$")
    task: Literal[
        "classification",
        "regression",
        "text-classification",
        "image-classification",
        "text-detection",
        "text-recognition",
        "other",
    ] = "other"
    title: str = ""
    description: str = ""
    inputs: list[TensorEntry] = Field(min_length=1)
    outputs: list[TensorEntry] = Field(min_length=1)
    labels: list[str] = []
    unit: str = ""
    examples: list[dict[str, Any]] = []
    preprocessing: Preprocessing = Preprocessing()
    batching: Batching | None = None
    licence: dict[str, str] = {}
    source: dict[str, str] = {}
    metrics: dict[str, Any] = {}
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    def input_specs(self) -> list[TensorSpec]:
        return [entry.spec() for entry in self.inputs]

    def output_specs(self) -> list[TensorSpec]:
        return [entry.spec() for entry in self.outputs]

    def properties(self) -> dict[str, str]:
        """What a caller that composes this model with others may want to know; lists are JSON."""
        said = {
            "task": self.task,
            "unit": self.unit,
            "labels": json.dumps(self.labels, ensure_ascii=False) if self.labels else "",
            "features": json.dumps([one.name for one in self.inputs[0].features]) if self.inputs[0].features else "",
            "preprocessing_fingerprint": self.preprocessing.fingerprint,
        }
        return {name: value for name, value in said.items() if value}

    def example_request(self) -> dict[str, Any]:
        """An inference request that works, out of the first example, or zeros; empty where it would be long."""
        inputs = []
        for entry in self.inputs:
            shape = [1 if size == -1 else size for size in entry.shape]
            count = math.prod(shape)
            data = self.examples[0].get("features") if self.examples and entry.features else None
            if data is None and (count > 64 or entry.datatype == "BYTES"):
                return {}
            inputs.append({"name": entry.name, "shape": shape, "datatype": entry.datatype, "data": data or [0] * count})
        return {"inputs": inputs}


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file; ModelLoadError, in one line, where there is none or it is not valid."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ModelLoadError(f"{path}: {error.strerror}; build it with `make models`") from None
    except UnicodeDecodeError:
        raise ModelLoadError(f"{path}: is not YAML: it is not text in UTF-8") from None
    return parse_manifest(text, str(path))


def parse_manifest(text: str, where: str) -> Manifest:
    try:
        return Manifest.model_validate(yaml.load(text, Loader=_Loader))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors())
        raise ModelLoadError(f"{where}: {wrong}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none is a ValueError
        raise ModelLoadError(f"{where}: is not YAML: {' '.join(str(error).split())}") from None
