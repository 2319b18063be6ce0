"""model.yaml: reading it, writing it, and saying what is missing from it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

# The safe loader in C where PyYAML has it: a thousand labels take a tenth of the time.
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
    """The mapping in a YAML file; TypeError when it holds anything else."""
    content = yaml.load(path.read_text(encoding="utf-8"), FAST_LOADER)
    if not isinstance(content, dict):
        raise TypeError(f"{path}: a mapping was expected")
    return content


def write(path: Path, manifest: Manifest) -> None:
    """Keys in the order of the schema, short lists on one line."""
    ordered = {key: manifest[key] for key in ORDER if key in manifest}
    text = yaml.safe_dump(ordered, sort_keys=False, width=120, allow_unicode=True, default_flow_style=None)
    path.write_text(text, encoding="utf-8")


def fingerprint(steps: object) -> str:
    """`sha256:<hex>` of the canonical JSON of the preprocessing steps: the same for all who do the same."""
    canonical = json.dumps(steps, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def finished(source: Manifest, derived: Manifest, sha256: str) -> Manifest:
    """The built manifest: the source without its build section, plus what only the build knows."""
    steps = (derived.get("preprocessing") or source["preprocessing"])["steps"]
    preprocessing = {"steps": steps, "fingerprint": fingerprint(steps)}
    kept = {key: value for key, value in source.items() if key != "build"}
    return kept | derived | {"preprocessing": preprocessing, "sha256": sha256}


def problems(manifest: Manifest) -> list[str]:
    """What keeps this built manifest from being complete; empty when nothing does."""
    missing = [f"no {key}" for key in REQUIRED if not manifest.get(key)]
    if missing:
        return missing
    found = [*_identity_problems(manifest), *_example_problems(manifest), *_answer_problems(manifest)]
    if manifest["preprocessing"].get("fingerprint") != fingerprint(manifest["preprocessing"]["steps"]):
        found.append("the fingerprint is not that of the preprocessing steps")
    for section, keys in {"licence": ("code", "weights", "data"), "source": ("weights", "data")}.items():
        found += [f"no {section}.{key}" for key in keys if not manifest[section].get(key)]
    return found


def _identity_problems(manifest: Manifest) -> list[str]:
    found = [] if manifest["task"] in TASKS else [f"task {manifest['task']!r} is none of {', '.join(TASKS)}"]
    if not (isinstance(manifest["version"], str) and manifest["version"].isdigit()):
        found.append("version is not an integer in quotes")
    found += [f"unknown key {key}" for key in manifest if key not in ORDER]
    return found


def _example_problems(manifest: Manifest) -> list[str]:
    examples = manifest["examples"]
    found = [] if len(examples) >= MINIMUM_EXAMPLES else [f"fewer than {MINIMUM_EXAMPLES} examples"]
    kinds = {"photo"} if manifest["task"] in ON_PICTURES else {"features", "item"}
    for row, example in enumerate(examples):
        found += [] if kinds & example.keys() else [f"example {row} has no {' and no '.join(sorted(kinds))}"]
        found += [] if "answer" in example else [f"example {row} has no answer"]
    return found


def _answer_problems(manifest: Manifest) -> list[str]:
    if manifest["task"] == "regression":
        return [] if manifest.get("unit") else ["a regressor names the unit of its answer"]
    if any(output["datatype"] == "BYTES" for output in manifest["outputs"]):
        return []  # its answers name the classes themselves
    if manifest["task"] == "text-detection":
        return []
    labels, width = manifest.get("labels") or [], manifest["outputs"][0]["shape"][-1]
    if manifest["task"] == "text-recognition":
        return [] if labels else ["a reader of text lists its characters as labels"]
    return [] if len(labels) == width else [f"{len(labels)} labels for {width} classes"]
