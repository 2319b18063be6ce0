"""Only models that are out of date are built again."""

from pathlib import Path

import pytest

from models import builder
from models.errors import BuildError
from tests.unit.models import toy_models


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    toy_models.write(tmp_path / "recipes")
    return tmp_path / "recipes"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "build"


def test_an_up_to_date_model_is_not_built(recipes: Path, output: Path) -> None:
    assert toy_models.build(recipes, output) == ["toy"]
    assert toy_models.build(recipes, output) == []


def test_force_builds_an_up_to_date_model(recipes: Path, output: Path) -> None:
    toy_models.build(recipes, output)
    assert toy_models.build(recipes, output, force=True) == ["toy"]


@pytest.mark.parametrize("file", ["build.py", "model.yaml"])
def test_a_changed_recipe_makes_the_model_out_of_date(recipes: Path, output: Path, file: str) -> None:
    toy_models.build(recipes, output)
    source = recipes / "toy" / file
    source.write_text(source.read_text() + "# changed\n")
    assert toy_models.build(recipes, output) == ["toy"]


@pytest.mark.parametrize("file", ["model.onnx", "model.yaml", "sources.sha256"])
def test_a_missing_file_makes_the_model_out_of_date(recipes: Path, output: Path, file: str) -> None:
    toy_models.build(recipes, output)
    (output / "toy" / "1" / file).unlink()
    assert toy_models.build(recipes, output) == ["toy"]
    assert toy_models.is_complete(output)


def test_a_corrupt_model_is_built_again(recipes: Path, output: Path) -> None:
    toy_models.build(recipes, output)
    model = output / "toy" / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    assert toy_models.build(recipes, output) == ["toy"]


def test_another_library_version_makes_the_model_out_of_date(
    recipes: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_models.build(recipes, output)
    monkeypatch.setattr("models.build_digest.metadata.version", lambda _: "another")
    assert toy_models.build(recipes, output) == ["toy"]


def test_a_model_is_out_of_date_when_its_dependency_is(recipes: Path, output: Path) -> None:
    toy_models.write(recipes, "copy", dependency="toy", first='context.load_dependency("toy")')
    assert toy_models.build(recipes, output, "copy") == ["toy", "copy"]
    toy_models.write(recipes, minimum=0.6)
    assert toy_models.build(recipes, output, "copy") == ["toy", "copy"]


def test_a_missing_example_photo_makes_the_model_out_of_date(recipes: Path, output: Path) -> None:
    toy_models.write(recipes, photos='{"flower.jpg": b"pixels"}')
    stated = recipes / "toy" / "model.yaml"
    stated.write_text(stated.read_text().replace("{features: [1, 2],", "{features: [1, 2], photo: flower.jpg,"))
    toy_models.build(recipes, output)
    (output / "photos" / "flower.jpg").unlink()
    assert toy_models.build(recipes, output) == ["toy"]
    assert (output / "photos" / "flower.jpg").read_bytes() == b"pixels"


def test_a_model_without_recipe_is_not_changed(recipes: Path, output: Path) -> None:
    own = output / "own" / "1" / "model.onnx"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    toy_models.build(recipes, output, force=True)
    assert own.read_bytes() == b"mine"


def test_an_unknown_name_is_refused_with_the_known_names(recipes: Path) -> None:
    with pytest.raises(BuildError, match="unknown model 'roses'; expected one of toy"):
        builder.in_build_order(builder.find_recipes(recipes), ["roses"])
