"""The sizes and metrics that models/README.md states are those of the built models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models import manifest
from tests.unit.models.real_models import ROOT, kept

ROW = re.compile(r"^\| `(\w+)` \| .* \| ([\d.]+ [kM]B) \| (.*?) \| [^|]* \|$", re.M)
ROWS = {name: (size, measured) for name, size, measured in ROW.findall((ROOT / "models" / "README.md").read_text())}
# the number of each metric in a row, in this order
METRICS = {
    "iris": ["accuracy"],
    "iris_rf": ["accuracy"],
    "iris_mlp": ["accuracy"],
    "petal_width": ["r2", "mean_absolute_error"],
    "iris_standardised": ["accuracy"],
    "penguins": ["accuracy", "accuracy_one_missing"],
    "text_language": ["accuracy"],
}


def version(name: str) -> Path:
    return kept(*METRICS) / name / "1"


def size(model: Path) -> str:
    """As the table writes it: kilobytes with a digit after the point below 100."""
    thousands = model.stat().st_size / 1e3
    return f"{thousands:.1f} kB" if thousands < 100 else f"{thousands:.0f} kB"


@pytest.mark.parametrize("name", METRICS)
def test_the_table_of_models_states_what_was_built(name: str) -> None:
    documented_size, measured = ROWS[name]
    assert documented_size == size(version(name) / "model.onnx")
    metrics = manifest.read(version(name) / "model.yaml")["metrics"]
    numbers = re.findall(r"\d\.\d+", measured)
    assert len(numbers) == len(METRICS[name])
    for number, metric in zip(numbers, METRICS[name], strict=True):
        decimals = len(number.partition(".")[2])
        assert float(number) == round(metrics[metric], decimals), metric
