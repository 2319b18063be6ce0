"""Exports of scikit-learn classifiers and regressors give the same outputs, and a pattern serves them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.datasets import load_iris

from patterns.web_single import demo
from patterns.web_single.api import Settings, create_process
from tests.exporters.exporting import LoadedExport, exported, needs, refused, run_module
from tests.exporters.toys_sklearn import COLUMNS, boosted, flowers, forest, places, two_targets, width
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
    np.save(folder / "flat.npy", ROWS[:, 0])
    return folder


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Path:
    return exported(folder, "sklearn", f"{TOYS}:flowers", "flowers", "rows.csv")


def test_a_classifier_outputs_probabilities_and_the_predicted_class(classifier: Path) -> None:
    model = LoadedExport(classifier)
    answer = model.infer({"features": ROWS})
    assert np.abs(answer["probabilities"] - flowers().predict_proba(ROWS)).max() < 1e-5
    assert [model.manifest.labels[one] for one in answer["label"]] == list(flowers().predict(ROWS))
    assert model.warm.unbatched_reason is None or "batching saves no time" in model.warm.unbatched_reason


def test_the_command_prints_what_it_exported(folder: Path) -> None:
    arguments = ["sklearn", f"{TOYS}:width", "--name", "commanded", "--samples", "3.npy", "--out", "commanded"]
    code, output = run_module("models.exporters", *arguments, folder=folder)
    assert code == 0
    assert output.startswith("commanded/commanded/1: 150 rows give the same outputs as scikit-learn ")


def test_the_manifest_has_the_metadata_of_estimator_and_samples(classifier: Path) -> None:
    built = LoadedExport(classifier).manifest
    assert (built.name, built.version, built.task) == ("flowers", "1", "classification")
    assert built.labels == ["setosa", "versicolor", "virginica"]
    features = built.inputs[0].features
    assert [one.name for one in features] == COLUMNS
    assert (features[0].minimum, features[0].maximum, features[0].example) == (4.3, 7.9, 5.1)
    assert built.source["weights"].startswith("exported from scikit-learn ")
    assert built.metrics["samples"] == 150
    assert built.metrics["max_difference"] < 1e-5


@pytest.fixture(scope="module")
def page(classifier: Path) -> Iterator[httpx.Client]:
    settings = {"model": "flowers", "model_repository": classifier.parents[1], "grpc_port": 0}
    app = create_process(Settings.model_validate(settings), CapturedLog().logs).app
    with served(app) as running, httpx.Client(base_url=running.url, timeout=20) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200, "readiness")
        yield client


def test_a_pattern_serves_it_by_its_feature_names(page: httpx.Client) -> None:
    row = dict(zip(COLUMNS, [5.1, 3.5, 1.4, 0.2], strict=True))
    answer = page.post("/predict", json={"instances": [row]}).json()
    assert answer["predictions"][0]["label"] == "setosa"
    assert answer["model_name"] == "flowers"


def test_the_demo_takes_examples_by_name(page: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
    demo.main(str(page.base_url).rstrip("/"))
    assert (
        '/predict -H \'Content-Type: application/json\' -d \'{"instances": [{"sepal_length": 5.1,'
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(("toy", "columns"), [("width", 3), ("two_targets", 2)])
def test_a_regressor_gives_one_value_or_several(folder: Path, toy: str, columns: int) -> None:
    arguments = ["sklearn", f"{TOYS}:{toy}", toy, f"{columns}.npy", "--outputs", "centimetres"]
    model = LoadedExport(exported(folder, *arguments))
    expected = {"width": width, "two_targets": two_targets}[toy]().predict(ROWS[:, :columns]).reshape(len(ROWS), -1)
    assert np.abs(model.infer({"features": ROWS[:, :columns]})["centimetres"] - expected).max() < 1e-5
    assert (model.manifest.task, model.manifest.inputs[0].features) == ("regression", [])


def test_boosted_trees_are_exported(folder: Path) -> None:
    model = LoadedExport(exported(folder, "sklearn", f"{TOYS}:boosted", "boosted", "rows.csv"))
    assert np.abs(model.infer({"features": ROWS})["probabilities"] - boosted().predict_proba(ROWS)).max() < 1e-5


def test_fields_of_the_description_are_written_to_the_manifest(folder: Path) -> None:
    described = "title: Width of a petal\nunit: cm\nlicence: {code: MIT}\nexamples: [{features: [1, 2, 3], answer: 1}]"
    (folder / "words.yaml").write_text(described)
    arguments = ["sklearn", f"{TOYS}:width", "described", "3.npy", "--describe", "words.yaml"]
    built = LoadedExport(exported(folder, *arguments)).manifest
    assert (built.title, built.unit, built.licence) == ("Width of a petal", "cm", {"code": "MIT"})
    (folder / "words.yaml").write_text("name: other\ninputs: []")
    assert "--describe: unknown keys inputs, name, expected any of task," in refused(
        folder, *arguments, "--version", "2"
    )


def test_a_version_is_never_replaced(folder: Path, classifier: Path) -> None:
    before = (classifier / "model.yaml").read_text()
    arguments = ["sklearn", f"{TOYS}:forest", "flowers", "rows.csv"]
    assert "exists, and a version is never replaced" in refused(folder, *arguments)
    assert (classifier / "model.yaml").read_text() == before
    assert LoadedExport(exported(folder, *arguments, "--version", "2")).manifest.version == "2"


@pytest.mark.parametrize(
    ("toy", "samples", "reason"),
    [
        ("not_fitted", "3.npy", "This Ridge instance is not fitted yet"),
        ("without_probabilities", "rows.csv", "LinearSVC has no predict_proba; wrap it in a CalibratedClassifierCV"),
        ("without_answers", "rows.csv", "found KMeans, expected a classifier or a regressor"),
        ("two_classifications", "rows.csv", "has several targets, expected one"),
        ("nothing", "rows.csv", "5 is not an estimator instance"),
        ("missing", "rows.csv", "has no attribute 'missing'; expected package.module:function that returns"),
        ("width", "rows.csv", "scikit-learn cannot run the model on these samples: ValueError: X has 4 features"),
        ("width", "flat.npy", "--samples: found the array float32 [150], expected rows of numbers"),
        ("width", "missing.npy", "missing.npy: [Errno 2] No such file"),
    ],
)
def test_an_invalid_model_is_refused_with_one_line(folder: Path, toy: str, samples: str, reason: str) -> None:
    assert reason in refused(folder, "sklearn", f"{TOYS}:{toy}", "wrong", samples)


def test_an_export_that_differs_by_more_than_the_tolerance_is_refused(folder: Path) -> None:
    arguments = ["sklearn", f"{TOYS}:flowers", "wrong", "rows.csv", "--tolerance", "0"]
    assert "differs from the framework's by" in refused(folder, *arguments)


@pytest.mark.parametrize("source", ["model.joblib", "model.pkl", "missing.skops", "nowhere:model", "a b:c"])
def test_a_pickle_is_not_loaded(folder: Path, source: str) -> None:
    for name in ("model.joblib", "model.pkl"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    assert refused(folder, "sklearn", source, "wrong", "rows.csv")
    assert not (folder / "opened").exists()


@needs("skops", "build")
def test_a_skops_file_is_loaded_and_untrusted_types_are_refused(folder: Path) -> None:
    from skops import io

    io.dump(flowers(), folder / "flowers.skops")
    io.dump(forest(), folder / "forest.skops")
    model = LoadedExport(exported(folder, "sklearn", "flowers.skops", "skops_flowers", "rows.csv"))
    assert np.abs(model.infer({"features": ROWS})["probabilities"] - flowers().predict_proba(ROWS)).max() < 1e-5
    arguments = ["sklearn", "forest.skops", "skops_forest", "rows.csv"]
    error = refused(folder, *arguments)
    assert "holds the untrusted types sklearn.tree._tree.Tree; allow each with --trust TYPE" in error
    assert (
        LoadedExport(exported(folder, *arguments, "--trust", "sklearn.tree._tree.Tree")).manifest.task
        == "classification"
    )
    io.dump(places(), folder / "places.skops")
    (folder / "places.csv").write_text("postcode,rooms\n01067,3\n20095,\n")
    arguments = ["sklearn", "places.skops", "skops_places", "places.csv"]
    assert "the untrusted types numpy.dtype; allow" in refused(folder, *arguments)
    assert exported(folder, *arguments, "--trust", "numpy.dtype")
    (folder / "broken.skops").write_bytes(b"PK")
    assert "skops cannot load it" in refused(folder, "sklearn", "broken.skops", "wrong", "rows.csv")
