"""`model.yaml`, the manifest of a model: the build of the model writes it, the services read it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import ServingError
from common.protocol.tensors import DATATYPES, TensorSpec

# the loader of libyaml is ten times as fast; not every build of PyYAML has it
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ModelLoadError(ServingError):
    """A model cannot be served. Its text is one line that tells the operator why."""

    status, grpc_code, title = 503, "UNAVAILABLE", "The model cannot be loaded"


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Feature(Part):
    """A named column of an input tensor. `minimum` and `maximum` are the range in the training data."""

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
    """`tolerance`: the most that an output may differ when its row shares a run with other rows."""

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
        """What the protocol's metadata say of this model beyond its tensors; lists are JSON."""
        values = {
            "task": self.task,
            "unit": self.unit,
            "labels": json.dumps(self.labels, ensure_ascii=False) if self.labels else "",
            "features": json.dumps([one.name for one in self.inputs[0].features]) if self.inputs[0].features else "",
            "preprocessing_fingerprint": self.preprocessing.fingerprint,
        }
        return {name: value for name, value in values.items() if value}

    def example_request(self) -> dict[str, Any]:
        """A valid inference request, made of the first example or of zeros; empty when it would be too long to show."""
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
    """Reads a manifest. Raises ModelLoadError when the file cannot be read or is not valid."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ModelLoadError(f"{path}: {error.strerror}; build it with `make models`") from None
    except UnicodeDecodeError:
        raise ModelLoadError(f"{path}: is not valid YAML: expected text in UTF-8, got other bytes") from None
    return parse_manifest(text, str(path))


def parse_manifest(text: str, where: str) -> Manifest:
    """Parses a manifest; `where` names its file in errors. Raises ModelLoadError that names each wrong field."""
    try:
        return Manifest.model_validate(yaml.load(text, Loader=_Loader))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors())
        raise ModelLoadError(f"{where}: {wrong}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an impossible date raises ValueError
        raise ModelLoadError(f"{where}: is not valid YAML: {' '.join(str(error).split())}") from None
