"""`python -m models`: what it says of names that no recipe builds, and of models of an option."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.__main__ import app
from tests.unit.models import toy_models


def test_a_model_that_somebody_has_put_there_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "1"
    folder.mkdir(parents=True)
    for name in ("model.onnx", "model.yaml"):
        (folder / name).write_text("mine")
    result = CliRunner().invoke(app, ["mine", "--out", str(tmp_path)])
    assert result.exit_code == 0
    assert "mine has no recipe and is taken as it is" in result.output
    assert (folder / "model.yaml").read_text() == "mine"


def test_a_name_that_nobody_knows_is_refused_with_those_there_are(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["nothing", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "no model 'nothing'; there are" in result.output


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`plain`; `tlhingan` of an option whose library does not exist; `poem`, made from it."""
    folder = tmp_path / "recipes"
    toy_models.write(folder, "plain")
    toy_models.write(folder, "tlhingan")
    toy_models.write(folder, "poem", needs="tlhingan")
    stated = folder / "tlhingan" / "model.yaml"
    stated.write_text(stated.read_text().replace("[numpy, onnx]", "[numpy, no-such-analyser]\n  extra: klingon"))
    monkeypatch.setattr("models.__main__.RECIPES", folder)
    return folder


def test_all_leaves_out_a_model_of_an_option_that_is_not_installed(recipes: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--all", "--out", str(tmp_path / "built")])
    assert result.exit_code == 0, result.output
    built, made_from_it, left_out = sorted(result.output.splitlines())
    assert built.startswith("plain built in")
    assert made_from_it.startswith("poem is left out: tlhingan needs no-such-analyser; to install: ")
    assert left_out.startswith("tlhingan is left out: tlhingan needs no-such-analyser; to install: ")
    assert "-m pip install --requirement requirements/klingon.txt (for an image: OPTIONS=klingon)" in left_out
    assert not (tmp_path / "built" / "tlhingan").exists()


@pytest.mark.parametrize("name", ["tlhingan", "poem"])
def test_naming_it_is_an_error_of_one_line(recipes: Path, tmp_path: Path, name: str) -> None:
    result = CliRunner().invoke(app, ["plain", name, "--out", str(tmp_path / "built")])
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("error: tlhingan needs no-such-analyser; to install: ")
    assert "requirements/klingon.txt" in line


def test_a_library_of_no_option_that_is_not_installed_is_an_error_for_all(recipes: Path, tmp_path: Path) -> None:
    stated = recipes / "plain" / "model.yaml"
    stated.write_text(stated.read_text().replace("[numpy, onnx]", "[numpy, no-such-converter]"))
    result = CliRunner().invoke(app, ["--all", "--out", str(tmp_path / "built")])
    assert result.exit_code == 1
    assert "error: plain needs no-such-converter; to install: " in result.output
    assert "requirements/build.txt" in result.output


def test_a_model_of_an_option_that_is_installed_is_one_of_all(recipes: Path, tmp_path: Path) -> None:
    stated = recipes / "tlhingan" / "model.yaml"
    stated.write_text(stated.read_text().replace("no-such-analyser", "sudachipy"))
    result = CliRunner().invoke(app, ["--all", "--out", str(tmp_path / "built")])
    assert result.exit_code == 0, result.output
    assert sorted(line.split()[0] for line in result.output.splitlines()) == ["plain", "poem", "tlhingan"]
