"""Exports of a .keras file, a SavedModel and a function's model give the same outputs as TensorFlow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exporters.exporting import LoadedExport, exported, needs, refused, write_toys

TOYS = "tests.exporters.toys_keras"
pytestmark = needs("tensorflow", "export-keras")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras")
    write_toys(folder, TOYS)
    return folder


@pytest.mark.parametrize("source", [f"{TOYS}:pictures", "pictures.keras", "pictures_saved"])
def test_outputs_are_those_of_tensorflow_for_any_number_of_rows(folder: Path, source: str) -> None:
    name = source.replace(":", "_")
    arguments = ["keras", source, name, "pictures.npz", "--outputs", "probabilities"]
    model = LoadedExport(exported(folder, *arguments))
    assert model.matches(folder / "pictures.npz", folder / "answers.npz")
    (picture,) = model.manifest.input_specs()
    assert (picture.name, picture.datatype, picture.shape) == ("picture", "FP32", (-1, 8, 8, 3))
    assert model.manifest.batching is not None
    assert model.manifest.source["weights"].startswith("exported from TensorFlow ")


@pytest.mark.parametrize(("source", "name"), [(f"{TOYS}:both", "both"), ("counter", "counter")])
def test_inputs_and_outputs_keep_their_names_and_types(folder: Path, source: str, name: str) -> None:
    model = LoadedExport(exported(folder, "keras", source, name, f"{name}.npz"))
    assert model.matches(folder / f"{name}.npz", folder / f"{name}_answers.npz")


@pytest.mark.parametrize(
    ("source", "samples", "reason"),
    [
        (f"{TOYS}:nothing", "pictures.npz", "found int, expected a keras.Model"),
        ("pictures.keras", "both.npz", "--samples has the inputs ['a', 'b'], expected ['picture']"),
        ("broken.keras", "pictures.npz", "broken.keras: Keras cannot load it"),
        ("empty", "pictures.npz", "empty: TensorFlow cannot load it"),
        ("both.npz", "pictures.npz", "expected .keras or package.module:function"),
    ],
)
def test_an_invalid_model_is_refused_with_one_line(folder: Path, source: str, samples: str, reason: str) -> None:
    (folder / "broken.keras").write_bytes(b"PK")
    (folder / "empty").mkdir(exist_ok=True)
    assert reason in refused(folder, "keras", source, "wrong", samples)
