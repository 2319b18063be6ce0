"""Runs the exporters as a user does, and loads the exported models as a service does."""

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
from common.inference.session import open_model
from common.inference.warm_up import warm_up
from common.protocol.tensors import Array
from models.exporters.__main__ import app

ROOT = Path(__file__).parents[2]


def needs(library: str, extra: str) -> pytest.MarkDecorator:
    """Skip a test if its framework is not installed; `make exporters` installs it (gigabytes)."""
    return pytest.mark.skipif(find_spec(library) is None, reason=f"{library} is not installed (the extra {extra})")


def run_module(*command: str, folder: Path) -> tuple[int, str]:
    """Run `python -m` in a subprocess. Returns the exit code and the output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def export(folder: Path, framework: str, source: str, name: str, samples: str, *rest: str) -> tuple[int, str]:
    """Run the exporter in a folder. scikit-learn runs in this process, which has imported it: that saves seconds."""
    arguments = [framework, source, "--name", name, "--samples", samples, "--out", "out", *rest]
    if framework not in ("onnx", "sklearn"):
        return run_module("models.exporters", *arguments, folder=folder)
    with chdir(folder):
        result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def exported(folder: Path, framework: str, source: str, name: str, samples: str, *rest: str) -> Path:
    """Run the exporter, which must succeed. Returns the folder of the version that it prints."""
    code, output = export(folder, framework, source, name, samples, *rest)
    assert code == 0, output
    (line,) = [one for one in output.splitlines() if one.startswith("out/")]
    return folder / line.partition(":")[0]


def refused(folder: Path, framework: str, source: str, name: str, samples: str, *rest: str) -> str:
    """Run the exporter, which must fail and write nothing. Returns the error, which is one line."""
    before = sorted((folder / "out").rglob("*"))
    code, output = export(folder, framework, source, name, samples, *rest)
    assert code == 1, output
    assert sorted((folder / "out").rglob("*")) == before
    (line,) = [one for one in output.splitlines() if one.startswith("error: ")]
    return line


def write_toys(folder: Path, module: str) -> None:
    """Run a toys module, which writes its models and samples to the folder."""
    code, output = run_module(module, str(folder), folder=folder)
    assert code == 0, output


class LoadedExport:
    """An exported version, loaded as a service loads it: checked against its manifest, and warmed up."""

    def __init__(self, folder: Path) -> None:
        self.manifest: Manifest
        self.manifest, self._session = open_model(folder, 1)
        self.warm = warm_up(self._session, self.manifest)

    def infer(self, inputs: dict[str, Array]) -> dict[str, Array]:
        outputs = self._session.run(inputs)
        return dict(zip((one.name for one in self.manifest.outputs), outputs, strict=True))

    def matches(self, samples: Path, outputs: Path) -> bool:
        """Whether the outputs for the samples in one file are those in another file."""
        actual = self.infer(dict(np.load(samples)))
        expected = dict(np.load(outputs))
        return actual.keys() == expected.keys() and all(
            np.allclose(actual[name], expected[name], rtol=0, atol=1e-5) for name in expected
        )
