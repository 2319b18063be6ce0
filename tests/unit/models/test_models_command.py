"""`python -m models`: models without a recipe, unknown names, and models that need an optional extra."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.__main__ import app
from tests.unit.models import toy_models


def test_a_model_without_recipe_is_used_unchanged(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "1"
    folder.mkdir(parents=True)
    for name in ("model.onnx", "model.yaml"):
        (folder / name).write_text("mine")
    result = CliRunner().invoke(app, ["mine", "--out", str(tmp_path)])
    assert result.exit_code == 0
    assert f"mine has no recipe; the files in {tmp_path / 'mine'} are used unchanged" in result.output
    assert (folder / "model.yaml").read_text() == "mine"


def test_an_unknown_name_is_refused_with_the_known_names(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["nothing", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "unknown model 'nothing'; expected one of" in result.output


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`plain`; `tlhingan`, whose extra has a library that does not exist; and `poem`, which depends on `tlhingan`."""
    folder = tmp_path / "recipes"
    toy_models.write(folder, "plain")
    toy_models.write(folder, "tlhingan")
    toy_models.write(folder, "poem", dependency="tlhingan")
    stated = folder / "tlhingan" / "model.yaml"
    stated.write_text(stated.read_text().replace("[numpy, onnx]", "[numpy, no-such-analyser]\n  extra: klingon"))
    monkeypatch.setattr("models.__main__.RECIPES", folder)
    return folder


def test_all_skips_a_model_whose_extra_is_not_installed(recipes: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--all", "--out", str(tmp_path / "built")])
    assert result.exit_code == 0, result.output
    built, dependent, skipped = sorted(result.output.splitlines())
    assert built.startswith("plain built in")
    reason = "is skipped: tlhingan needs no-such-analyser, which is not installed; run: "
    assert dependent.startswith(f"poem {reason}")
    assert skipped.startswith(f"tlhingan {reason}")
    assert (
        "-m pip install --requirement requirements/klingon.txt (in an image: build argument OPTIONS=klingon)" in skipped
    )
    assert not (tmp_path / "built" / "tlhingan").exists()


@pytest.mark.parametrize("name", ["tlhingan", "poem"])
def test_naming_such_a_model_is_an_error_of_one_line(recipes: Path, tmp_path: Path, name: str) -> None:
    result = CliRunner().invoke(app, ["plain", name, "--out", str(tmp_path / "built")])
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("error: tlhingan needs no-such-analyser, which is not installed; run: ")
    assert "requirements/klingon.txt" in line


def test_a_missing_library_of_no_extra_is_an_error_for_all(recipes: Path, tmp_path: Path) -> None:
    stated = recipes / "plain" / "model.yaml"
    stated.write_text(stated.read_text().replace("[numpy, onnx]", "[numpy, no-such-converter]"))
    result = CliRunner().invoke(app, ["--all", "--out", str(tmp_path / "built")])
    assert result.exit_code == 1
    assert "error: plain needs no-such-converter, which is not installed; run: " in result.output
    assert "requirements/build.txt" in result.output


def test_all_builds_a_model_whose_extra_is_installed(recipes: Path, tmp_path: Path) -> None:
    stated = recipes / "tlhingan" / "model.yaml"
    stated.write_text(stated.read_text().replace("no-such-analyser", "sudachipy"))
    result = CliRunner().invoke(app, ["--all", "--out", str(tmp_path / "built")])
    assert result.exit_code == 0, result.output
    assert sorted(line.split()[0] for line in result.output.splitlines()) == ["plain", "poem", "tlhingan"]
