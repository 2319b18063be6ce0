"""scikit-learn's own objects as models: what is opened, what is refused, and that they answer as their ONNX twin."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.svm import SVC
from skops import io

from common.errors import InvalidInput
from common.inference.manifest import ModelLoadError
from common.inference.source import ModelSource
from common.observability.log import Logs
from patterns.synchronous.estimator import FILE, Settings, create_process, estimator_files, open_estimator
from tests.unit.common.polling import wait_until
from tests.unit.common.serving import served

ROWS, SPECIES = load_iris(return_X_y=True)
TRUSTED = ["sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration"]
CLASSES = [
    {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
    {"name": "label", "datatype": "INT64", "shape": [-1]},
]


def write(folder: Path, content: bytes, task: str = "classification", **changes: Any) -> Path:
    """The folder of a version whose model.skops has this content."""
    manifest = {
        "name": "flowers", "version": "1", "task": task, "sha256": "0" * 64,
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}], "outputs": CLASSES,
        "source": {FILE: hashlib.sha256(content).hexdigest()}, **changes,
    }  # fmt: skip
    (folder / FILE).write_bytes(content)
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest))
    return folder


def logistic(classes: Any = SPECIES) -> bytes:
    """A classifier of the three species, whose names or numbers are `classes`."""
    answers = SPECIES if classes is SPECIES else classes[SPECIES]
    return bytes(io.dumps(LogisticRegression(max_iter=500).fit(ROWS, answers)))


def test_a_classifier_gives_the_tensors_of_its_manifest(tmp_path: Path) -> None:
    _, session = open_estimator([], write(tmp_path, logistic()), 1)
    shares, labels = session.run({"features": ROWS.astype(np.float32)})
    expected = LogisticRegression(max_iter=500).fit(ROWS, SPECIES).predict_proba(ROWS)
    assert (shares.dtype.name, labels.dtype.name) == ("float32", "int64")
    assert shares == pytest.approx(expected, abs=1e-4)
    assert np.array_equal(labels, expected.argmax(axis=1))


@pytest.mark.parametrize("classes", [(0, 1), ("no", "yes"), (5, 2)], ids=str)
def test_the_label_is_what_the_estimator_predicts_and_not_the_most_probable(tmp_path: Path, classes: Any) -> None:
    is_virginica = np.array(classes)[(SPECIES == 2).astype(int)]
    estimator = FixedThresholdClassifier(
        LogisticRegression(), threshold=0.01, pos_label=classes[1], response_method="predict_proba"
    )
    estimator.fit(ROWS, is_virginica)
    content, outputs = bytes(io.dumps(estimator)), [{**CLASSES[0], "shape": [-1, 2]}, CLASSES[1]]
    _, session = open_estimator(io.get_untrusted_types(data=content), write(tmp_path, content, outputs=outputs), 1)
    shares, labels = session.run({"features": ROWS.astype(np.float32)})
    assert np.array_equal(estimator.classes_[labels], estimator.predict(ROWS.astype(np.float32)))
    assert (labels != shares.argmax(axis=1)).any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_number_that_is_none_is_the_callers_fault(tmp_path: Path, task: str, value: float) -> None:
    content = logistic() if task == "classification" else bytes(io.dumps(LinearRegression().fit(ROWS, ROWS[:, 3])))
    outputs = CLASSES if task == "classification" else [{"name": "value", "datatype": "FP32", "shape": [-1, 1]}]
    _, session = open_estimator([], write(tmp_path, content, task, outputs=outputs), 1)
    with pytest.raises(InvalidInput, match=r"inputs\[0\]"):
        session.run({"features": np.array([[1, 2, value, 4]], np.float32)})


def test_where_numbers_may_be_missing_the_estimator_gets_them(tmp_path: Path) -> None:
    estimator = HistGradientBoostingClassifier(max_iter=2).fit(ROWS, SPECIES)
    content = bytes(io.dumps(estimator))
    inputs = [{"name": "features", "datatype": "FP32", "shape": [-1, 4], "missing": True}]
    _, session = open_estimator(io.get_untrusted_types(data=content), write(tmp_path, content, inputs=inputs), 1)
    assert len(session.run({"features": np.full((2, 4), np.nan, np.float32)})[0]) == 2


def test_a_regressor_does_too(tmp_path: Path) -> None:
    content = io.dumps(LinearRegression().fit(ROWS, ROWS[:, 3]))
    folder = write(tmp_path, content, "regression", outputs=[{"name": "value", "datatype": "FP32", "shape": [-1, 1]}])
    _, session = open_estimator([], folder, 1)
    (values,) = session.run({"features": ROWS.astype(np.float32)})
    assert values[:, 0] == pytest.approx(ROWS[:, 3], abs=1e-4)


def refusal(folder: Path, *trusted: str) -> str:
    with pytest.raises(ModelLoadError) as caught:
        open_estimator(trusted, folder, 1)
    return caught.value.detail


def test_a_type_that_is_not_trusted_is_named_and_not_loaded(tmp_path: Path) -> None:
    estimator = CalibratedClassifierCV(SVC(), ensemble=False).fit(ROWS, SPECIES)
    folder = write(tmp_path, io.dumps(estimator))
    assert "holds the types sklearn.calibration._CalibratedClassifier, sklearn" in refusal(folder)
    assert "holds the types sklearn.calibration._SigmoidCalibration, which" in refusal(folder, TRUSTED[0])
    open_estimator(TRUSTED, folder, 1)


class Planted:
    """A pickle that leaves a mark when it is opened."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self._mark,))


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    mark = tmp_path / "opened"
    assert "skops cannot load it" in refusal(write(tmp_path, pickle.dumps(Planted(mark))))
    assert not mark.exists()


def test_what_does_not_fit_is_refused_with_the_reason(tmp_path: Path) -> None:
    content = logistic()
    assert "No such file" in refusal(write_without_file(tmp_path))
    assert "model.yaml states none" in refusal(write(tmp_path, content, source={}))
    assert "model.yaml states 00" in refusal(write(tmp_path, content, source={FILE: "00" * 32}))
    narrow = [{"name": "features", "datatype": "FP32", "shape": [-1, 3]}]
    assert "does not fit model.yaml: ValueError: X has 3 features" in refusal(write(tmp_path, content, inputs=narrow))
    fewer = [{**CLASSES[0], "shape": [-1, 2]}, CLASSES[1]]
    assert "of shape [1, 3] for one row, but model.yaml says [-1, 2]" in refusal(
        write(tmp_path, content, outputs=fewer)
    )
    other = [{**CLASSES[0], "name": "scores"}]
    assert "does not fit model.yaml: KeyError: 'scores'" in refusal(write(tmp_path, content, outputs=other))


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (range(3), ["setosa", "versicolor", "virginica"]), ("abc", ["a", "b", "c"]), ((1, 2, 5), ["1", "2", "5"]),
        ((0.0, 1.0, 2.0), ["a", "b", "c"]), ("abc", []),
    ],
    ids=["numbered", "named", "other numbers", "numbered by floats", "no labels"],
)  # fmt: skip
def test_labels_are_the_classes_in_their_order(tmp_path: Path, classes: Any, labels: list[str]) -> None:
    manifest, _ = open_estimator([], write(tmp_path, logistic(np.array([*classes])), labels=labels), 1)
    assert manifest.labels == labels


@pytest.mark.parametrize(
    ("classes", "labels", "says"),
    [
        ("abc", ["a", "c", "b"], "classes_ are [a, b, c], but model.yaml states the labels [a, c, b]"),
        (range(3), ["2", "1", "0"], "classes_ are [0, 1, 2], but model.yaml states the labels [2, 1, 0]"),
        ((1, 2, 5), ["a", "b", "c"], "classes_ are [1, 2, 5]"),
    ],
    ids=["another order", "reversed numbers", "other numbers"],
)
def test_other_labels_than_the_classes_are_refused(tmp_path: Path, classes: Any, labels: list[str], says: str) -> None:
    assert says in refusal(write(tmp_path, logistic(np.array([*classes])), labels=labels))


def test_an_estimator_is_downloaded_and_checked(tmp_path: Path) -> None:
    made, root = tmp_path / "made", tmp_path / "repository"
    made.mkdir()
    write(made, logistic())
    ModelSource(f"file://{made}", files=estimator_files).fetch("flowers", root)
    folder = root / "flowers" / "1"
    assert sorted(path.name for path in folder.iterdir()) == [FILE, "model.yaml"]
    open_estimator([], folder, 1)


@pytest.mark.parametrize(
    ("source", "says"), [({FILE: "00" * 32}, "but model.yaml says 000000000000"), ({}, "model.yaml states no sha256")]
)
def test_a_downloaded_estimator_with_another_sha256_is_refused(
    tmp_path: Path, source: dict[str, str], says: str
) -> None:
    write(tmp_path, logistic(), source=source)
    with pytest.raises(ModelLoadError, match=says):
        ModelSource(f"file://{tmp_path}", files=estimator_files).fetch("flowers", tmp_path / "repository")
    assert not list((tmp_path / "repository").rglob("model.*"))


def test_the_role_downloads_what_model_uri_names(tmp_path: Path) -> None:
    asked = {"model": "flowers", "model_uri": f"file://{write(tmp_path, logistic())}", "grpc_port": 0}
    settings = Settings.model_validate(asked)
    with served(create_process(settings, Logs("synchronous", "api")).app) as running:
        wait_until(lambda: httpx.get(f"{running.url}/readyz").status_code == 200, "readiness")


def write_without_file(folder: Path) -> Path:
    write(folder, b"")
    (folder / FILE).unlink()
    return folder
