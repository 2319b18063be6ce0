"""Runs the exporters as a user does, and reads what they made as a service does."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from common.inference.manifest import Manifest
from common.inference.session import open_model, warm_up
from common.protocol.tensors import Array
from models.exporters.__main__ import app

ROOT = Path(__file__).parents[2]


def needs(library: str, extra: str) -> pytest.MarkDecorator:
    """Marks tests of a framework that takes gigabytes; `make exporters` installs it."""
    return pytest.mark.skipif(find_spec(library) is None, reason=f"{library} is not installed (the extra {extra})")


def ran(*command: str, folder: Path) -> tuple[int, str]:
    """How a module's command ended and what it said, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def export(folder: Path, framework: str, source: str, name: str, samples: str, *rest: str) -> tuple[int, str]:
    """`python -m models.exporters` in a folder; scikit-learn here, where it has been imported, which takes seconds."""
    arguments = [framework, source, "--name", name, "--samples", samples, "--out", "out", *rest]
    if framework != "sklearn":
        return ran("models.exporters", *arguments, folder=folder)
    with chdir(folder):
        result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def exported(folder: Path, framework: str, source: str, name: str, samples: str, *rest: str) -> Path:
    """The version's folder that the command says it has made."""
    code, said = export(folder, framework, source, name, samples, *rest)
    assert code == 0, said
    (line,) = [one for one in said.splitlines() if one.startswith("out/")]
    return folder / line.partition(":")[0]


def refused(folder: Path, framework: str, source: str, name: str, samples: str, *rest: str) -> str:
    """The one line of error, after which nothing new is there."""
    before = sorted((folder / "out").rglob("*"))
    code, said = export(folder, framework, source, name, samples, *rest)
    assert code == 1, said
    assert sorted((folder / "out").rglob("*")) == before
    (line,) = [one for one in said.splitlines() if one.startswith("error: ")]
    return line


def made(folder: Path, toys: str) -> None:
    """The files that a module of toys writes."""
    code, said = ran(toys, str(folder), folder=folder)
    assert code == 0, said


class Served:
    """A version as a service opens it: checked against its manifest, warmed, and asked."""

    def __init__(self, folder: Path) -> None:
        self.manifest: Manifest
        self.manifest, self._session = open_model(folder, 1)
        self.warm = warm_up(self._session, self.manifest)

    def ask(self, inputs: dict[str, Array]) -> dict[str, Array]:
        outputs = self._session.run(inputs)
        return dict(zip((one.name for one in self.manifest.outputs), outputs, strict=True))

    def answers_as(self, samples: Path, answers: Path) -> bool:
        """Whether it gives the answers in one file to the samples in another."""
        asked = self.ask(dict(np.load(samples)))
        expected = dict(np.load(answers))
        return asked.keys() == expected.keys() and all(
            np.allclose(asked[name], expected[name], rtol=0, atol=1e-5) for name in expected
        )
