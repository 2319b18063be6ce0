"""Keras and TensorFlow: a .keras file, a SavedModel and a function's model, exported by the command; each answers as
TensorFlow did.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exporters.exporting import Served, exported, made, needs, refused

TOYS = "tests.exporters.toys_keras"
pytestmark = needs("tensorflow", "export-keras")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras")
    made(folder, TOYS)
    return folder


@pytest.mark.parametrize("source", [f"{TOYS}:pictures", "pictures.keras", "pictures_saved"])
def test_it_answers_as_tensorflow_does_for_any_number_of_rows(folder: Path, source: str) -> None:
    name = source.replace(":", "_")
    arguments = ["keras", source, name, "pictures.npz", "--outputs", "probabilities"]
    model = Served(exported(folder, *arguments))
    assert model.answers_as(folder / "pictures.npz", folder / "answers.npz")
    (picture,) = model.manifest.input_specs()
    assert (picture.name, picture.datatype, picture.shape) == ("picture", "FP32", (-1, 8, 8, 3))
    assert model.manifest.batching is not None
    assert model.manifest.source["weights"].startswith("exported from TensorFlow ")


@pytest.mark.parametrize(("source", "name"), [(f"{TOYS}:both", "both"), ("counter", "counter")])
def test_inputs_and_outputs_keep_their_names_and_types(folder: Path, source: str, name: str) -> None:
    model = Served(exported(folder, "keras", source, name, f"{name}.npz"))
    assert model.answers_as(folder / f"{name}.npz", folder / f"{name}_answers.npz")


@pytest.mark.parametrize(
    ("source", "samples", "reason"),
    [
        (f"{TOYS}:nothing", "pictures.npz", "gave int, not a keras.Model"),
        ("pictures.keras", "both.npz", "the samples are for inputs ['a', 'b'], the model has ['picture']"),
        ("broken.keras", "pictures.npz", "broken.keras: Keras cannot open it"),
        ("empty", "pictures.npz", "empty: TensorFlow cannot open it"),
        ("both.npz", "pictures.npz", "expected .keras or package.module:function"),
    ],
)
def test_what_cannot_be_exported_says_why_in_one_line(folder: Path, source: str, samples: str, reason: str) -> None:
    (folder / "broken.keras").write_bytes(b"PK")
    (folder / "empty").mkdir(exist_ok=True)
    assert reason in refused(folder, "keras", source, "wrong", samples)
