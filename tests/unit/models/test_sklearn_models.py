"""The scikit-learn models as the recipes build them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_iris

from models import builder, manifest
from tests.unit.models import real_models

ROOT = Path(builder.__file__).parents[1]
CLASSIFIERS = ("iris", "iris_mlp", "iris_rf")
SMALL = (*CLASSIFIERS, "petal_width")


@pytest.fixture(scope="module")
def output() -> Path:
    return real_models.kept(*SMALL)


def _run(output: Path, name: str, rows: NDArray[np.float32]) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(output / name / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    answers: list[NDArray[Any]] = session.run(None, {"features": rows})
    return answers


def test_another_process_builds_the_same_bytes(tmp_path: Path) -> None:
    assert real_models.differing_files(tmp_path, *SMALL) == []


@pytest.mark.parametrize("name", SMALL)
def test_built_manifest_is_complete(output: Path, name: str) -> None:
    assert manifest.problems(manifest.read(output / name / "1" / "model.yaml")) == []


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier_outputs_probabilities_and_the_index_of_the_greatest(output: Path, name: str) -> None:
    probabilities, label = _run(output, name, load_iris().data.astype(np.float32))
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert label.dtype == np.int64
    assert (label == probabilities.argmax(axis=1)).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier_predicts_its_own_examples(output: Path, name: str) -> None:
    built = manifest.read(output / name / "1" / "model.yaml")
    rows = np.array([example["features"] for example in built["examples"]], dtype=np.float32)
    answers = [built["labels"][index] for index in _run(output, name, rows)[1]]
    assert answers == [example["answer"] for example in built["examples"]]


def test_regressor_predicts_its_examples_within_half_a_centimetre(output: Path) -> None:
    built = manifest.read(output / "petal_width" / "1" / "model.yaml")
    rows = np.array([example["features"] for example in built["examples"]], dtype=np.float32)
    (widths,) = _run(output, "petal_width", rows)
    assert widths.shape == (3, 1)
    assert np.abs(widths[:, 0] - [example["answer"] for example in built["examples"]]).max() < 0.5


def test_ranges_of_features_are_those_of_the_data_set(output: Path) -> None:
    features = manifest.read(output / "iris" / "1" / "model.yaml")["inputs"][0]["features"]
    assert features[0] == {"name": "sepal_length", "unit": "cm", "minimum": 4.3, "maximum": 7.9, "example": 5.1}


def test_command_reports_an_up_to_date_model_without_escape_codes(output: Path) -> None:
    finished = real_models.command("iris", "--out", str(output))
    assert finished.stdout.startswith("iris is up to date (accuracy 0.9")
    assert "\x1b" not in finished.stdout


def test_command_refuses_an_unknown_model_on_one_line(tmp_path: Path) -> None:
    finished = real_models.command("roses", "--out", str(tmp_path))
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: unknown model 'roses'; expected one of imagenet_lite0,")
    assert finished.stderr.count("\n") == 1
