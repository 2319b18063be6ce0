"""For models whose preprocessing is in model.yaml: writes the parameters that training learned into its steps."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.build_api import BuildResult
from models.errors import BuildError
from models.manifest import Manifest

DIGITS = 8

Step = dict[str, Any]


def with_learned_steps(
    result: BuildResult, manifest: Manifest, learned: Mapping[str, Any], examples: list[Manifest]
) -> BuildResult:
    """The result with the manifest's steps, completed by the learned parameters (by step name), and these examples."""
    steps = [_completed(step, learned) for step in manifest["preprocessing"]["steps"]]
    return replace(
        result, manifest_fields=result.manifest_fields | {"preprocessing": {"steps": steps}, "examples": examples}
    )


def _completed(step: Step, learned: Mapping[str, Any]) -> Step:
    ((name, stated),) = step.items()
    return {name: stated | learned[name]} if name in learned else step


def verified_examples(
    manifest: Manifest, items: Sequence[Any], answers: NDArray[Any], rows: NDArray[np.float32] | None = None
) -> list[Manifest]:
    """The manifest's examples, checked against the data set; with the features of each item if `rows` are given.

    `answers` are label indices in the order of `items`. Raises BuildError for an example that is not in the data set.
    """
    found = []
    for example in manifest["examples"]:
        matches = [row for row, item in enumerate(items) if item == example["item"]]
        truth = {manifest["labels"][answers[row]] for row in matches}
        if truth != {example["answer"]}:
            raise BuildError(f"{manifest['name']}: example {example} is not in the data set; correct it in model.yaml")
        features = {} if rows is None else {"features": rounded(rows[matches[0]])}
        found.append(features | example)
    return found


def standardise_parameters(names: Sequence[str], scaler: Any) -> dict[str, dict[str, float]]:
    """The parameters of a fitted StandardScaler in the form that the step `standardise` takes."""
    columns = zip(names, rounded(scaler.mean_), rounded(scaler.scale_), strict=True)
    return {name: {"mean": mean, "scale": scale} for name, mean, scale in columns}


def rounded(numbers: Any) -> list[float]:
    """Rounded numbers, so that processors that sum in a different order produce the same fingerprint."""
    return [round(float(number), DIGITS) for number in numbers]
