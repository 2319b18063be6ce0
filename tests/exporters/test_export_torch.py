"""Exports of a module, an exported program and TorchScript give the same outputs as PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exporters.exporting import LoadedExport, exported, needs, refused, write_toys

TOYS = "tests.exporters.toys_torch"
pytestmark = needs("torch", "export-torch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    write_toys(folder, TOYS)
    return folder


@pytest.mark.parametrize("source", [f"{TOYS}:pictures", "pictures.pt2", "pictures.pt"], ids=["module", "pt2", "script"])
def test_outputs_are_those_of_pytorch_for_any_number_of_rows(folder: Path, source: str) -> None:
    name = source.replace(":", "_")
    arguments = ["torch", source, name, "pictures.npz", "--outputs", "logits"]
    model = LoadedExport(exported(folder, *arguments))
    assert model.matches(folder / "pictures.npz", folder / "answers.npz")
    (picture,) = model.manifest.input_specs()
    assert (picture.name, picture.datatype, picture.shape) == ("picture", "FP32", (-1, 3, 8, 8))
    assert model.manifest.batching is not None
    assert model.manifest.source["weights"].startswith("exported from PyTorch ")


def test_several_inputs_and_outputs_keep_their_types(folder: Path) -> None:
    arguments = ["torch", f"{TOYS}:both", "both", "both.npz", "--outputs", "found,next"]
    model = LoadedExport(exported(folder, *arguments))
    assert model.matches(folder / "both.npz", folder / "both_answers.npz")
    assert [one.datatype for one in (*model.manifest.inputs, *model.manifest.outputs)] == ["FP32", "INT64"] * 2


def test_rows_that_depend_on_one_another_are_not_batched(folder: Path) -> None:
    model = LoadedExport(exported(folder, "torch", f"{TOYS}:neighbours", "neighbours", "numbers.npy"))
    assert model.manifest.batching is None


@pytest.mark.parametrize(
    ("source", "samples", "reason"),
    [
        (f"{TOYS}:five_rows", "numbers.npy", "PyTorch cannot export the model"),
        (f"{TOYS}:nothing", "numbers.npy", "found int, expected a torch.nn.Module"),
        (f"{TOYS}:pictures", "numbers.npy", "PyTorch cannot run the model on these samples"),
        (f"{TOYS}:pictures", "both.npz", "--samples has the inputs ['numbers', 'places'], expected ['picture']"),
        ("weights.pt", "pictures.npz", "weights.pt: cannot be loaded, expected TorchScript"),
        ("both.npz", "pictures.npz", "expected .pt2, .pt or package.module:function"),
    ],
)
def test_an_invalid_model_is_refused_with_one_line(folder: Path, source: str, samples: str, reason: str) -> None:
    assert reason in refused(folder, "torch", source, "wrong", samples)


def test_more_names_than_outputs_are_refused(folder: Path) -> None:
    arguments = ["torch", "pictures.pt", "wrong", "pictures.npz", "--outputs", "a,b"]
    assert "found 2 names in --outputs, expected 1" in refused(folder, *arguments)
