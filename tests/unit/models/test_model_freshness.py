"""Only what is stale is built again."""

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


def test_a_fresh_model_is_left_alone(recipes: Path, output: Path) -> None:
    assert toy_models.build(recipes, output) == ["toy"]
    assert toy_models.build(recipes, output) == []


def test_force_builds_what_is_fresh(recipes: Path, output: Path) -> None:
    toy_models.build(recipes, output)
    assert toy_models.build(recipes, output, force=True) == ["toy"]


@pytest.mark.parametrize("file", ["build.py", "model.yaml"])
def test_a_changed_source_makes_the_model_stale(recipes: Path, output: Path, file: str) -> None:
    toy_models.build(recipes, output)
    source = recipes / "toy" / file
    source.write_text(source.read_text() + "# changed\n")
    assert toy_models.build(recipes, output) == ["toy"]


@pytest.mark.parametrize("file", ["model.onnx", "model.yaml", "sources.sha256"])
def test_a_lost_file_makes_the_model_stale(recipes: Path, output: Path, file: str) -> None:
    toy_models.build(recipes, output)
    (output / "toy" / "1" / file).unlink()
    assert toy_models.build(recipes, output) == ["toy"]
    assert toy_models.whole(output)


def test_a_damaged_model_is_built_again(recipes: Path, output: Path) -> None:
    toy_models.build(recipes, output)
    model = output / "toy" / "1" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    assert toy_models.build(recipes, output) == ["toy"]


def test_another_library_version_makes_the_model_stale(
    recipes: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_models.build(recipes, output)
    monkeypatch.setattr("models.freshness.metadata.version", lambda _: "another")
    assert toy_models.build(recipes, output) == ["toy"]


def test_a_model_is_stale_when_the_one_it_is_made_from_is(recipes: Path, output: Path) -> None:
    toy_models.write(recipes, "copy", needs="toy", first='workspace.built("toy")')
    assert toy_models.build(recipes, output, "copy") == ["toy", "copy"]
    toy_models.write(recipes, floor=0.6)
    assert toy_models.build(recipes, output, "copy") == ["toy", "copy"]


def test_a_lost_example_photo_makes_the_model_stale(recipes: Path, output: Path) -> None:
    toy_models.write(recipes, photos='{"flower.jpg": b"pixels"}')
    stated = recipes / "toy" / "model.yaml"
    stated.write_text(stated.read_text().replace("{features: [1, 2],", "{features: [1, 2], photo: flower.jpg,"))
    toy_models.build(recipes, output)
    (output / "photos" / "flower.jpg").unlink()
    assert toy_models.build(recipes, output) == ["toy"]
    assert (output / "photos" / "flower.jpg").read_bytes() == b"pixels"


def test_a_model_dropped_in_by_hand_is_not_touched(recipes: Path, output: Path) -> None:
    own = output / "own" / "1" / "model.onnx"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    toy_models.build(recipes, output, force=True)
    assert own.read_bytes() == b"mine"


def test_an_unknown_name_is_answered_with_those_that_there_are(recipes: Path) -> None:
    with pytest.raises(BuildError, match="no model 'roses'; there are toy"):
        builder.in_order(builder.catalogue(recipes), ["roses"])
