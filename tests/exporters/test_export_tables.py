"""Tables with text, and ONNX files as other tools write them, are exported to what a service serves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.exporters.exporting import ROOT, LoadedExport, exported, refused, run_module
from tests.models.case import N, case, entry, node
from tests.models.refused import WEIGHTS, external, of_type

TOYS = "tests.exporters.toys_sklearn"
TABLE = "\ufeffsex,fare\nmale,30\nfemale,7.5\nmale,8\nfemale,50\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    (folder / "table.csv").write_text(TABLE, encoding="utf-8")
    (folder / "pairs.csv").write_text("a,b\n1,2\n3,\n", encoding="utf-8")
    (folder / "whole.csv").write_text("a,b\n1,2\n3,4\n", encoding="utf-8")
    return folder


def test_a_table_with_text_becomes_a_model_with_an_input_for_each_column(folder: Path) -> None:
    version = exported(folder, "sklearn", f"{TOYS}:passengers", "passengers", "table.csv")
    model = LoadedExport(version)
    assert [(one.name, one.datatype) for one in model.manifest.inputs] == [("sex", "BYTES"), ("fare", "FP32")]
    assert [one.features[0].example for one in model.manifest.inputs] == ["male", 30]
    assert model.manifest.examples[1] == {"features": {"sex": "female", "fare": 7.5}}
    assert model.warm.warning is None
    code, output = run_module("models", "check", str(version), folder=folder)
    assert code == 0, output
    assert "/predict: takes sex, fare; answers one of 2 labels from output 'probabilities'" in output


def test_a_column_of_text_alone_is_a_model_of_texts(folder: Path) -> None:
    (folder / "texts.csv").write_text("text\ngood day\n12\nbad\n")
    model = LoadedExport(exported(folder, "sklearn", f"{TOYS}:opinions", "opinions", "texts.csv"))
    assert [(one.name, one.datatype, one.shape) for one in model.manifest.inputs] == [("text", "BYTES", [-1, 1])]
    assert model.manifest.examples[1] == {"features": {"text": "12"}}
    assert "expected one" in refused(folder, "sklearn", f"{TOYS}:opinions", "other", "table.csv")


def test_text_of_digits_stays_text_if_the_estimator_was_fitted_to_text(folder: Path) -> None:
    (folder / "places.csv").write_text("postcode;rooms\n01067;3\n20095;\n;5\n")
    model = LoadedExport(exported(folder, "sklearn", f"{TOYS}:places", "places", "places.csv"))
    assert [(one.name, one.datatype, one.missing) for one in model.manifest.inputs] == [
        ("postcode", "BYTES", False),
        ("rooms", "FP32", True),
    ]
    assert model.manifest.examples[0] == {"features": {"postcode": "01067", "rooms": 3}}


def test_the_pipeline_of_the_readme_exports(folder: Path) -> None:
    page = (ROOT / "models" / "README.md").read_text()
    (folder / "churn.py").write_text(page.partition("```python\n# churn.py")[2].partition("```")[0])
    (folder / "churn.csv").write_text("city,postcode,months\nWien,01067,3\n,20095,\nGraz,,2\n")
    model = LoadedExport(exported(folder, "sklearn", "churn:fitted", "churn", "churn.csv"))
    assert [one.datatype for one in model.manifest.inputs] == ["BYTES", "BYTES", "FP32"]


@pytest.mark.parametrize(
    ("toy", "hint"),
    [
        ("gaps_of_text", 'use SimpleImputer(missing_values="")'),
        ("with_indicator", "(add_indicator=True), so fit without"),
    ],
)
def test_a_pipeline_that_is_not_converted_says_what_to_change(folder: Path, toy: str, hint: str) -> None:
    assert hint in refused(folder, "sklearn", f"{TOYS}:{toy}", "wrong", "table.csv")


def test_a_library_that_is_missing_is_named_with_its_command(folder: Path) -> None:
    (folder / "imports.py").write_text("import no_such_pandas\n")
    (folder / "later.py").write_text("def fitted():\n    import no_such_pandas\n")
    for module in ("imports", "later"):
        error = refused(folder, "sklearn", f"{module}:fitted", "wrong", "table.csv")
        assert "which the model imports and the exporter does not need; run: " in error
        assert error.endswith("-m pip install no_such_pandas")
    assert f"found from {folder} or PYTHONPATH" in refused(folder, "sklearn", "none:fitted", "wrong", "table.csv")
    (folder / "skopses.py").write_text("def fitted():\n    raise ModuleNotFoundError('No skops', name='skops.io')\n")
    error = refused(folder, "sklearn", "skopses:fitted", "wrong", "table.csv")
    assert error.endswith("--requirement requirements/build.txt --requirement requirements/estimator.txt")


def test_a_column_is_text_if_the_caller_says_so(folder: Path) -> None:
    copied = case(
        "copied", [node("Identity", "code", "y")], [entry("code", "BYTES", N, 1)], [entry("y", "BYTES", N, 1)], {}
    )
    (folder / "copied.onnx").write_bytes(copied.model)
    (folder / "codes.csv").write_text("code\n007\n01\n")
    model = LoadedExport(exported(folder, "onnx", "copied.onnx", "copied", "codes.csv", "--text", "code"))
    assert model.manifest.examples[0] == {"features": {"code": "007"}}
    error = refused(folder, "onnx", "copied.onnx", "other", "codes.csv", "--text", "kode")
    assert "--text names the column 'kode', but --samples is a .csv file with the columns ['code']" in error


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("labels: [no, yes, maybe]", "labels.0"),
        ("labels: [low, middle, high]", "labels has 3 entries, but no output has a score for each"),
        ("task: classify", "task: "),
        ("examples: [{features: {sex: male}}]", "examples[0]: rows[0].fare is missing"),
    ],
)
def test_what_no_service_would_load_is_not_written(folder: Path, description: str, reason: str) -> None:
    (folder / "description.yaml").write_text(description)
    arguments = ["sklearn", f"{TOYS}:passengers", "described", "table.csv", "--describe", "description.yaml"]
    error = refused(folder, *arguments)
    assert f"error: no service would load this model, so it is not written: model.yaml: {reason}" in error
    assert not list((folder / "out").glob(".export-*"))


def test_a_name_that_no_repository_has_is_refused_before_the_export(folder: Path) -> None:
    error = refused(folder, "sklearn", "nowhere:model", "Churn 5", "table.csv")
    assert "--name: found 'Churn 5', expected letters, digits," in error


def test_a_check_says_why_a_model_cannot_be_served(folder: Path) -> None:
    written = case("broken", [node("Neg", "x", "y")], [entry("x", "FP32", N, 2)], [entry("y", "FP32", N, 2)], {})
    written.manifest["inputs"] = [entry("x", "FP32", N, 3)]
    code, output = run_module("models", "check", str(written.write(folder)), folder=folder)
    assert code == 1
    assert "input 'x' is FP32 [-1, 2], but model.yaml says FP32 [-1, 3]" in output
    assert run_module("models", "check", folder=folder)[0] == 2


def test_the_zipmap_of_a_classifier_is_removed(folder: Path) -> None:
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    zipmap = node("ZipMap", "x", "y", domain="ai.onnx.ml", classlabels_strings=["no", "yes"])
    (folder / "zipmap.onnx").write_bytes(of_type([zipmap], kind))
    model = LoadedExport(exported(folder, "onnx", "zipmap.onnx", "zipmap", "whole.csv"))
    assert model.manifest.labels == ["no", "yes"]
    rows = np.array([[1, 2], [3, 4]], np.float32)
    assert model.infer({"x": rows})["y"].tolist() == rows.tolist()


def test_missing_numbers_and_other_datatypes_are_taken_from_a_table(folder: Path) -> None:
    wide = case("wide", [node("Abs", "x", "y")], [entry("x", "FP64", N, 2)], [entry("y", "FP64", N, 2)], {})
    whole = case("whole", [node("Abs", "x", "y")], [entry("x", "INT64", N, 2)], [entry("y", "INT64", N, 2)], {})
    for one in (wide, whole):
        (folder / f"{one.name}.onnx").write_bytes(one.model)
    model = LoadedExport(exported(folder, "onnx", "wide.onnx", "wide", "pairs.csv"))
    assert model.manifest.inputs[0].missing
    assert model.manifest.examples[1] == {"features": {"a": 3, "b": None}}
    assert LoadedExport(exported(folder, "onnx", "whole.onnx", "whole", "whole.csv")).manifest.inputs[0].features
    assert "values of 'x' do not fit in int64" in refused(folder, "onnx", "whole.onnx", "other", "pairs.csv")


def test_weights_in_a_second_file_are_put_into_the_model(folder: Path) -> None:
    (folder / "beside.onnx").write_bytes(external("beside").model)
    assert "model.onnx.data" in refused(folder, "onnx", "beside.onnx", "beside", "whole.csv")
    (folder / "model.onnx.data").write_bytes(WEIGHTS)
    model = LoadedExport(exported(folder, "onnx", "beside.onnx", "beside", "whole.csv"))
    assert model.infer({"x": np.zeros((1, 2), np.float32)})["y"].tolist() == [[0, 1]]
