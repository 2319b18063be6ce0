"""scikit-learn: classifiers and regressors, exported by the command and served by a pattern as they come out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.datasets import load_iris

from patterns.web_single.api import Settings, create_process
from tests.exporters.exporting import Served, exported, needs, ran, refused
from tests.exporters.toys_sklearn import COLUMNS, flowers, forest, two_at_once, width
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import wait_until
from tests.unit.common.serving import served

TOYS = "tests.exporters.toys_sklearn"
ROWS = load_iris().data.astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sklearn")
    lines = [",".join(f"{value:g}" for value in row) for row in ROWS]
    (folder / "rows.csv").write_text("\n".join([",".join(COLUMNS), *lines]))
    for columns in (2, 3):
        np.save(folder / f"{columns}.npy", ROWS[:, :columns])
    return folder


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Path:
    return exported(folder, "sklearn", f"{TOYS}:flowers", "flowers", "rows.csv")


def test_a_classifier_gives_its_probabilities_and_the_likeliest_class(classifier: Path) -> None:
    model = Served(classifier)
    answer = model.ask({"features": ROWS})
    assert np.abs(answer["probabilities"] - flowers().predict_proba(ROWS)).max() < 1e-5
    assert [model.manifest.labels[one] for one in answer["label"]] == list(flowers().predict(ROWS))
    assert model.warm.alone is None or "nothing to share" in model.warm.alone


def test_the_command_says_what_it_has_made(folder: Path) -> None:
    arguments = ["sklearn", f"{TOYS}:width", "--name", "commanded", "--samples", "3.npy", "--out", "commanded"]
    code, said = ran("models.exporters", *arguments, folder=folder)
    assert code == 0
    assert said.startswith("commanded/commanded/1: answers as scikit-learn ")
    assert said.endswith(" does on 150 rows\n")


def test_the_manifest_tells_what_the_estimator_and_the_samples_do(classifier: Path) -> None:
    told = Served(classifier).manifest
    assert (told.name, told.version, told.task) == ("flowers", "1", "classification")
    assert told.labels == ["setosa", "versicolor", "virginica"]
    features = told.inputs[0].features
    assert [one.name for one in features] == COLUMNS
    assert (features[0].minimum, features[0].maximum, features[0].example) == (4.3, 7.9, 5.1)
    assert told.source["weights"].startswith("exported from scikit-learn ")
    assert told.metrics["samples"] == 150
    assert told.metrics["greatest_difference"] < 1e-5


@pytest.fixture(scope="module")
def page(classifier: Path) -> Iterator[httpx.Client]:
    settings = {"model": "flowers", "model_repository": classifier.parents[1], "grpc_port": 0}
    app = create_process(Settings.model_validate(settings), CapturedLog().logs).app
    with served(app) as running, httpx.Client(base_url=running.url, timeout=20) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, "readiness")
        yield client


def test_a_pattern_serves_it_by_the_names_of_its_columns(page: httpx.Client) -> None:
    row = dict(zip(COLUMNS, [5.1, 3.5, 1.4, 0.2], strict=True))
    answer = page.post("/predict", json={"instances": [row]}).json()
    assert answer["predictions"][0]["label"] == "setosa"
    assert answer["model_name"] == "flowers"


@pytest.mark.parametrize(("toy", "columns"), [("width", 3), ("two_at_once", 2)])
def test_a_regressor_gives_one_value_or_several(folder: Path, toy: str, columns: int) -> None:
    arguments = ["sklearn", f"{TOYS}:{toy}", toy, f"{columns}.npy", "--outputs", "centimetres"]
    model = Served(exported(folder, *arguments))
    expected = {"width": width, "two_at_once": two_at_once}[toy]().predict(ROWS[:, :columns]).reshape(len(ROWS), -1)
    assert np.abs(model.ask({"features": ROWS[:, :columns]})["centimetres"] - expected).max() < 1e-5
    assert (model.manifest.task, model.manifest.inputs[0].features) == ("regression", [])


def test_what_its_author_knows_is_taken_over(folder: Path) -> None:
    described = "title: Width of a petal\nunit: cm\nlicence: {code: MIT}\nexamples: [{features: [1, 2, 3], answer: 1}]"
    (folder / "words.yaml").write_text(described)
    arguments = ["sklearn", f"{TOYS}:width", "described", "3.npy", "--describe", "words.yaml"]
    told = Served(exported(folder, *arguments)).manifest
    assert (told.title, told.unit, told.licence) == ("Width of a petal", "cm", {"code": "MIT"})
    (folder / "words.yaml").write_text("name: other\ninputs: []")
    assert "the description has inputs, name" in refused(folder, *arguments, "--version", "2")


def test_a_version_is_never_replaced(folder: Path, classifier: Path) -> None:
    before = (classifier / "model.yaml").read_text()
    arguments = ["sklearn", f"{TOYS}:forest", "flowers", "rows.csv"]
    assert "is there already, and a version never changes" in refused(folder, *arguments)
    assert (classifier / "model.yaml").read_text() == before
    assert Served(exported(folder, *arguments, "--version", "2")).manifest.version == "2"


@pytest.mark.parametrize(
    ("toy", "samples", "reason"),
    [
        ("not_fitted", "3.npy", "This Ridge instance is not fitted yet"),
        ("without_probabilities", "rows.csv", "LinearSVC gives no probabilities; put it into a CalibratedClassifierCV"),
        ("without_answers", "rows.csv", "KMeans is neither a classifier nor a regressor"),
        ("two_questions", "rows.csv", "answers several questions at once"),
        ("nothing", "rows.csv", "5 is not an estimator instance"),
        ("forgotten", "rows.csv", "has no attribute 'forgotten'"),
        ("width", "rows.csv", "scikit-learn cannot answer these samples: ValueError: X has 4 features"),
        ("width", "forgotten.npy", "forgotten.npy: [Errno 2] No such file"),
    ],
)
def test_what_cannot_be_exported_says_why_in_one_line(folder: Path, toy: str, samples: str, reason: str) -> None:
    assert reason in refused(folder, "sklearn", f"{TOYS}:{toy}", "wrong", samples)


def test_an_answer_that_differs_too_much_is_no_export(folder: Path) -> None:
    arguments = ["sklearn", f"{TOYS}:flowers", "wrong", "rows.csv", "--tolerance", "0"]
    assert "differs from the framework's by" in refused(folder, *arguments)


@pytest.mark.parametrize("source", ["model.joblib", "model.pkl", "missing.skops", "nowhere:model", "a b:c"])
def test_a_pickle_is_not_opened(folder: Path, source: str) -> None:
    for name in ("model.joblib", "model.pkl"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    assert refused(folder, "sklearn", source, "wrong", "rows.csv")
    assert not (folder / "opened").exists()


@needs("skops", "build")
def test_a_skops_file_is_opened_and_unknown_types_in_it_are_not(folder: Path) -> None:
    from skops import io

    io.dump(flowers(), folder / "flowers.skops")
    io.dump(forest(), folder / "forest.skops")
    model = Served(exported(folder, "sklearn", "flowers.skops", "skops_flowers", "rows.csv"))
    assert np.abs(model.ask({"features": ROWS})["probabilities"] - flowers().predict_proba(ROWS)).max() < 1e-5
    arguments = ["sklearn", "forest.skops", "skops_forest", "rows.csv"]
    said = refused(folder, *arguments)
    assert "holds sklearn.tree._tree.Tree; if you know them, say so with --trust" in said
    assert Served(exported(folder, *arguments, "--trust", "sklearn.tree._tree.Tree")).manifest.task == "classification"
    (folder / "broken.skops").write_bytes(b"PK")
    assert "is no model that skops can open" in refused(folder, "sklearn", "broken.skops", "wrong", "rows.csv")
