"""`model.yaml`, the manifest of a model: the build of the model writes it, the services read it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import ServingError
from common.inference.manifest_errors import reasons
from common.observability.redaction import redacted
from common.protocol.rows import columns_of
from common.protocol.tensors import DATATYPES, TensorSpec

# the loader of libyaml is ten times as fast; not every build of PyYAML has it
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
WHEN_MISSING = "build the model with `make models` if it has a recipe, else export it or copy its files there again"
_SHA256 = r"^[0-9a-f]{64}$"


class ModelLoadError(ServingError):
    """A model cannot be served. Its text is one line that tells the operator why."""

    status, grpc_code, title = 503, "UNAVAILABLE", "The model cannot be loaded"


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Value = bool | int | float | str


class Feature(Part):
    """A named column of an input tensor. `minimum` and `maximum` are the range in the training data."""

    name: str
    unit: str = ""
    minimum: int | float | None = None
    maximum: int | float | None = None
    example: Value | None = None
    description: str = ""


class TensorEntry(Part):
    """An input or output.

    `missing`: numbers of this input may be missing, so null in JSON is NaN. `finite`: this input takes neither NaN nor
    infinity. `optional`: the graph has a default for this input. `any_rank`: the graph leaves the number of dimensions
    open, and `shape` is only one that it takes.
    """

    name: str
    datatype: Literal[tuple(DATATYPES)]  # type: ignore[valid-type]  # pydantic reads the names at run time
    shape: list[int]
    features: list[Feature] = []
    description: str = ""
    missing: bool = False
    finite: bool = False
    optional: bool = False
    any_rank: bool = False

    def spec(self, aligned: bool = True) -> TensorSpec:
        return TensorSpec(
            self.name,
            self.datatype,
            tuple(self.shape),
            tuple(one.name for one in self.features),
            self.missing,
            self.finite,
            self.optional,
            self.any_rank,
            aligned,
        )


class Batching(Part):
    """`tolerance`: the most that an output may differ when its row shares a run with other rows."""

    tolerance: float = Field(ge=0)


class Preprocessing(Part):
    steps: list[Any] = []
    fingerprint: str = ""


class Manifest(Part):
    """One version of one model.

    `external_data` are the files beside model.onnx that hold weights, each with its sha256. An example has `features`,
    the values of a row by name or in their order, or `inputs`, whole tensors by name, or what a step of `preprocessing`
    takes; and the model's `answer`.
    """

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
    external_data: dict[str, Annotated[str, Field(pattern=_SHA256)]] = {}
    sha256: str = Field(pattern=_SHA256)

    def files(self) -> dict[str, str]:
        """The files beside model.yaml that hold the model, each with its sha256."""
        return {"model.onnx": self.sha256, **self.external_data}

    def input_specs(self) -> list[TensorSpec]:
        """The inputs. They have the same number of rows if requests may share a run, or if their columns have names."""
        aligned = self.batching is not None or any(entry.features for entry in self.inputs)
        return [entry.spec(aligned) for entry in self.inputs]

    def output_specs(self) -> list[TensorSpec]:
        return [entry.spec() for entry in self.outputs]

    def properties(self) -> dict[str, str]:
        """What the protocol's metadata say of this model beyond its tensors; lists are JSON."""
        names = [column.name for column in columns_of(self.input_specs())]
        values = {
            "task": self.task,
            "unit": self.unit,
            "labels": json.dumps(self.labels, ensure_ascii=False) if self.labels else "",
            "features": json.dumps(names, ensure_ascii=False) if names else "",
            "preprocessing_fingerprint": self.preprocessing.fingerprint,
        }
        return {name: value for name, value in values.items() if value}


_KEYS = {
    "inputs": list(TensorEntry.model_fields),
    "outputs": list(TensorEntry.model_fields),
    "features": list(Feature.model_fields),
    "batching": list(Batching.model_fields),
    "preprocessing": list(Preprocessing.model_fields),
}


def fingerprint(steps: object) -> str:
    """`sha256:<hex>` of the canonical JSON of preprocessing steps. Equal steps have equal fingerprints."""
    canonical = json.dumps(steps, sort_keys=True, separators=(",", ":"), default=str)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest. Raises ModelLoadError when the file cannot be read or is not valid."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ModelLoadError(f"{path}: {error.strerror}; {WHEN_MISSING}") from None
    except UnicodeDecodeError:
        raise ModelLoadError(f"{path}: is not valid YAML: expected text in UTF-8, got other bytes") from None
    return parse_manifest(text, str(path))


def parse_manifest(text: str, where: str) -> Manifest:
    """Parses a manifest; `where` names its file in errors. Raises ModelLoadError that names each wrong field."""
    try:
        manifest = Manifest.model_validate(yaml.load(text, Loader=_Loader))
    except ValidationError as error:
        raise ModelLoadError(f"{where}: {reasons(error.errors(), _KEYS)}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an impossible date raises ValueError
        raise ModelLoadError(f"{where}: is not valid YAML: {' '.join(str(error).split())}") from None
    if wrong := "; ".join(problems(manifest)):
        raise ModelLoadError(f"{where}: {wrong}")
    return manifest


def problems(manifest: Manifest) -> list[str]:
    """What in a manifest contradicts something else in it, one sentence each."""
    found = []
    for kind, entries in (("input", manifest.inputs), ("output", manifest.outputs)):
        names = [entry.name for entry in entries]
        found += [f"{kind} {name!r} is stated twice" for name in dict.fromkeys(names) if names.count(name) > 1]
        for entry in entries:
            found += [f"{kind} {entry.name!r}: {reason}" for reason in _entry_problems(entry)]
    columns = [column.name for column in columns_of(manifest.input_specs())]
    found += [f"feature {name!r} is stated twice" for name in dict.fromkeys(columns) if columns.count(name) > 1]
    return found + _label_problems(manifest) + _file_problems(manifest) + _fingerprint_problems(manifest)


def _fingerprint_problems(manifest: Manifest) -> list[str]:
    try:
        stated, actual = manifest.preprocessing.fingerprint, fingerprint(manifest.preprocessing.steps)
    except (TypeError, ValueError) as error:  # keys of several kinds, and lists that hold themselves
        return [f"preprocessing.steps: cannot be written as JSON: {error}"]
    if stated in ("", actual):
        return []
    return [
        f"preprocessing.fingerprint: found {stated[:80]!r}, but that of its steps is {actual}; state that, or leave it "
        "out if the steps are right"
    ]


def _entry_problems(entry: TensorEntry) -> list[str]:
    found = []
    if any(size < -1 for size in entry.shape):
        found.append(f"shape is {entry.shape}, expected sizes, and -1 for a free dimension")
    columns = entry.shape[-1] if len(entry.shape) > 1 else 1
    if entry.features and columns not in (-1, len(entry.features)):
        found.append(f"{len(entry.features)} features are named, but shape {entry.shape} has {columns} columns")
    if (entry.missing or entry.finite) and not entry.datatype.startswith("FP"):
        found.append(f"`missing` and `finite` are for floating-point numbers, but the datatype is {entry.datatype}")
    if entry.missing and entry.finite:
        found.append("is both `missing` and `finite`; a number that is missing is NaN, which `finite` refuses")
    for one in entry.features:
        if one.minimum is not None and one.maximum is not None and one.minimum > one.maximum:
            found.append(f"feature {one.name!r} has minimum {one.minimum} above maximum {one.maximum}")
    return found


def _label_problems(manifest: Manifest) -> list[str]:
    """Whether a classifier with labels has an output with a score for each of them."""
    labels = manifest.labels
    if not labels or manifest.task not in ("classification", "text-classification", "image-classification"):
        return []
    duplicates = [f"label {label!r} is stated twice" for label in dict.fromkeys(labels) if labels.count(label) > 1]
    floats = [entry for entry in manifest.outputs if entry.datatype.startswith("FP")]
    widths = [entry.shape[1] if len(entry.shape) == 2 else 1 if len(entry.shape) == 1 else 0 for entry in floats]
    fits = any(width in (-1, len(labels)) or (width == 1 and len(labels) == 2) for width in widths)
    if fits or not floats:
        return duplicates
    listed = ", ".join(f"{entry.name} {entry.shape}" for entry in floats)
    return [
        *duplicates,
        f"labels has {len(labels)} entries, but no output has a score for each of them: {listed}; "
        "state one label for each column, or none",
    ]


def _file_problems(manifest: Manifest) -> list[str]:
    return [
        f"external_data: {name!r} is not the name of a file beside model.onnx"
        for name in manifest.external_data
        if not name or name in ("model.onnx", "model.yaml") or name.startswith(".") or {"/", "\\", "\0"} & set(name)
    ]


def one_line(error: BaseException, length: int = 600) -> str:
    """An error of ONNX Runtime on one line. Of a long one, the end is kept too, which says what to do."""
    text = redacted(" ".join(redacted(str(error)).split()))  # first: a part of a secret is not recognised
    return text if len(text) <= length else f"{text[: length // 2]} … {text[-length // 2 :]}"
