"""Models whose preprocessing stands before the graph: what training found out goes into the steps of model.yaml."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import BuildError
from models.manifest import Manifest
from models.recipe import Product

DIGITS = 8

Step = dict[str, Any]


def with_steps(product: Product, manifest: Manifest, learned: Mapping[str, Any], examples: list[Manifest]) -> Product:
    """The product with the manifest's steps, each with what was learned for it, and with these examples."""
    steps = [_completed(step, learned) for step in manifest["preprocessing"]["steps"]]
    return replace(product, derived=product.derived | {"preprocessing": {"steps": steps}, "examples": examples})


def _completed(step: Step, learned: Mapping[str, Any]) -> Step:
    ((name, stated),) = step.items()
    return {name: stated | learned[name]} if name in learned else step


def real_examples(
    manifest: Manifest, items: Sequence[Any], answers: NDArray[Any], rows: NDArray[np.float32] | None = None
) -> list[Manifest]:
    """The manifest's examples, each with the features that its item becomes, if rows are given.

    `answers` are indices of labels, in the order of the items. BuildError for an example that is not in the data.
    """
    found = []
    for example in manifest["examples"]:
        places = [place for place, item in enumerate(items) if item == example["item"]]
        truth = {manifest["labels"][answers[place]] for place in places}
        if truth != {example["answer"]}:
            raise BuildError(f"{manifest['name']}: example {example} is not in the data")
        features = {} if rows is None else {"features": rounded(rows[places[0]])}
        found.append(features | example)
    return found


def scaling(names: Sequence[str], scaler: Any) -> dict[str, dict[str, float]]:
    """A fitted StandardScaler as the parameter of the step `standardise`."""
    columns = zip(names, rounded(scaler.mean_), rounded(scaler.scale_), strict=True)
    return {name: {"mean": mean, "scale": scale} for name, mean, scale in columns}


def rounded(numbers: Any) -> list[float]:
    """So that a sum that another processor adds up in another order gives the same fingerprint."""
    return [round(float(number), DIGITS) for number in numbers]
