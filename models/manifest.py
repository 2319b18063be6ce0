"""Reads, writes and validates model.yaml, the manifest of a model."""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

# The safe loader in C if PyYAML has it: it reads a thousand labels ten times as fast.
FAST_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

TASKS = (
    "classification", "regression", "text-classification",
    "image-classification", "text-detection", "text-recognition",
)  # fmt: skip
ON_PICTURES = TASKS[3:]
REQUIRED = (
    "name", "version", "task", "title", "description", "inputs", "outputs", "examples",
    "preprocessing", "licence", "source", "metrics", "sha256",
)  # fmt: skip
ORDER = (
    "name", "version", "task", "title", "description", "inputs", "outputs", "labels", "unit", "examples",
    "preprocessing", "batching", "licence", "source", "metrics", "sha256",
)  # fmt: skip
MINIMUM_EXAMPLES = 3


def read(path: Path) -> Manifest:
    """The mapping in a YAML file. Raises TypeError if the file holds anything else."""
    content = yaml.load(path.read_text(encoding="utf-8"), FAST_LOADER)
    if not isinstance(content, dict):
        raise TypeError(f"{path}: found {type(content).__name__}, expected a YAML mapping (key: value)")
    return content


def write(path: Path, manifest: Manifest) -> None:
    """Write the manifest with its keys in the order of the schema and short lists on one line."""
    ordered = {key: manifest[key] for key in ORDER if key in manifest}
    text = yaml.safe_dump(ordered, sort_keys=False, width=120, allow_unicode=True, default_flow_style=None)
    path.write_text(text, encoding="utf-8")


def fingerprint(steps: object) -> str:
    """`sha256:<hex>` of the preprocessing steps as canonical JSON (sorted keys, no spaces).

    common/preprocessing computes it in the same way, so equal steps have equal fingerprints everywhere.
    """
    canonical = json.dumps(steps, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def finished(source: Manifest, manifest_fields: Manifest, sha256: str) -> Manifest:
    """The built manifest: the recipe's manifest without `build`, plus the fields that the build computed."""
    steps = (manifest_fields.get("preprocessing") or source["preprocessing"])["steps"]
    preprocessing = {"steps": steps, "fingerprint": fingerprint(steps)}
    kept = {key: value for key, value in source.items() if key != "build"}
    return kept | manifest_fields | {"preprocessing": preprocessing, "sha256": sha256}


def problems(manifest: Manifest) -> list[str]:
    """What is missing or wrong in a built manifest, one message for each problem; empty if it is valid."""
    missing = [f"model.yaml has no {key}" for key in REQUIRED if not manifest.get(key)]
    if missing:
        return missing
    found = [*_identity_problems(manifest), *_example_problems(manifest), *_answer_problems(manifest)]
    expected = fingerprint(manifest["preprocessing"]["steps"])
    if manifest["preprocessing"].get("fingerprint") != expected:
        found.append(f"the fingerprint does not match the preprocessing steps, expected {expected}")
    for section, keys in {"licence": ("code", "weights", "data"), "source": ("weights", "data")}.items():
        found += [f"model.yaml has no {section}.{key}" for key in keys if not manifest[section].get(key)]
    return found


def _identity_problems(manifest: Manifest) -> list[str]:
    found = [] if manifest["task"] in TASKS else [f"task is {manifest['task']!r}, expected one of {', '.join(TASKS)}"]
    if not (isinstance(manifest["version"], str) and manifest["version"].isdigit()):
        found.append(f"version is {manifest['version']!r}, expected an integer in quotes")
    found += [f"unknown key {key!r}, expected one of {', '.join(ORDER)}" for key in manifest if key not in ORDER]
    return found


def _example_problems(manifest: Manifest) -> list[str]:
    examples = manifest["examples"]
    found = (
        [] if len(examples) >= MINIMUM_EXAMPLES else [f"{len(examples)} examples, expected at least {MINIMUM_EXAMPLES}"]
    )
    kinds = {"photo"} if manifest["task"] in ON_PICTURES else {"features", "item"}
    for row, example in enumerate(examples):
        found += [] if kinds & example.keys() else [f"example {row} has no {' or '.join(sorted(kinds))}"]
        found += [] if "answer" in example else [f"example {row} has no answer"]
    return found


def _answer_problems(manifest: Manifest) -> list[str]:
    if manifest["task"] == "regression":
        return [] if manifest.get("unit") else ["model.yaml has no unit, which a regression model needs"]
    if any(output["datatype"] == "BYTES" for output in manifest["outputs"]):
        return []  # the outputs hold the names of the classes
    if manifest["task"] == "text-detection":
        return []
    labels, width = manifest.get("labels") or [], manifest["outputs"][0]["shape"][-1]
    if manifest["task"] == "text-recognition":
        return [] if labels else ["model.yaml has no labels, expected the characters that the model recognises"]
    return [] if len(labels) == width else [f"{len(labels)} labels, expected one for each of the {width} classes"]
