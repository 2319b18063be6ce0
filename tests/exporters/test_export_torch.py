"""PyTorch: a module, an exported program and TorchScript, exported by the command; each answers as PyTorch did."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exporters.exporting import Served, exported, made, needs, refused

TOYS = "tests.exporters.toys_torch"
pytestmark = needs("torch", "export-torch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    made(folder, TOYS)
    return folder


@pytest.mark.parametrize("source", [f"{TOYS}:pictures", "pictures.pt2", "pictures.pt"], ids=["module", "pt2", "script"])
def test_it_answers_as_pytorch_does_for_any_number_of_rows(folder: Path, source: str) -> None:
    name = source.replace(":", "_")
    arguments = ["torch", source, name, "pictures.npz", "--outputs", "logits"]
    model = Served(exported(folder, *arguments))
    assert model.answers_as(folder / "pictures.npz", folder / "answers.npz")
    (picture,) = model.manifest.input_specs()
    assert (picture.name, picture.datatype, picture.shape) == ("picture", "FP32", (-1, 3, 8, 8))
    assert model.manifest.batching is not None
    assert model.manifest.source["weights"].startswith("exported from PyTorch ")


def test_several_inputs_and_outputs_keep_their_types(folder: Path) -> None:
    arguments = ["torch", f"{TOYS}:both", "both", "both.npz", "--outputs", "found,next"]
    model = Served(exported(folder, *arguments))
    assert model.answers_as(folder / "both.npz", folder / "both_answers.npz")
    assert [one.datatype for one in (*model.manifest.inputs, *model.manifest.outputs)] == ["FP32", "INT64"] * 2


def test_rows_that_depend_on_one_another_are_not_batched(folder: Path) -> None:
    model = Served(exported(folder, "torch", f"{TOYS}:neighbours", "neighbours", "numbers.npy"))
    assert model.manifest.batching is None


@pytest.mark.parametrize(
    ("source", "samples", "reason"),
    [
        (f"{TOYS}:five_rows", "numbers.npy", "PyTorch cannot export it"),
        (f"{TOYS}:nothing", "numbers.npy", "gave int, not a torch.nn.Module"),
        (f"{TOYS}:pictures", "numbers.npy", "PyTorch cannot answer these samples"),
        (f"{TOYS}:pictures", "both.npz", "the samples are for inputs ['numbers', 'places'], the model has ['picture']"),
        ("weights.pt", "pictures.npz", "weights.pt: is no TorchScript"),
        ("both.npz", "pictures.npz", "expected .pt2, .pt or package.module:function"),
    ],
)
def test_what_cannot_be_exported_says_why_in_one_line(folder: Path, source: str, samples: str, reason: str) -> None:
    assert reason in refused(folder, "torch", source, "wrong", samples)


def test_names_for_more_outputs_than_there_are_are_refused(folder: Path) -> None:
    arguments = ["torch", "pictures.pt", "wrong", "pictures.npz", "--outputs", "a,b"]
    assert "2 names for 1 outputs" in refused(folder, *arguments)
