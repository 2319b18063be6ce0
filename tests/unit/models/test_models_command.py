"""`python -m models`: what it says of names that no recipe builds."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from models.__main__ import app


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
