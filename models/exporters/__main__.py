"""Command line: `python -m models.exporters onnx|sklearn|torch|keras SOURCE --name NAME --samples FILE`."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from models import manifest
from models.errors import BuildError
from models.exporters import publish, samples
from models.exporters.export import ExportRequest

app = typer.Typer(add_completion=False, help=__doc__)

Source = Annotated[str, typer.Argument(help="A file or folder, or package.module:function that returns the model.")]
Name = Annotated[str, typer.Option(help="Name of the model in the model repository.")]
SampleFile = Annotated[Path, typer.Option("--samples", help="File of real inputs: .npz, .npy, or .csv with a header.")]
Version = Annotated[int, typer.Option(min=1, help="Version of the model. An existing version is never replaced.")]
Outputs = Annotated[str, typer.Option(help="New names for the outputs, comma-separated. Default: unchanged.")]
Trust = Annotated[list[str] | None, typer.Option(help="A type to allow in a .skops file (repeatable).")]
Text = Annotated[
    list[str] | None, typer.Option(help="A column of a .csv file that is text though it has only digits (repeatable).")
]
Describe = Annotated[Path | None, typer.Option(help=f"YAML file with any of: {', '.join(publish.DESCRIBED)}.")]
Tolerance = Annotated[float, typer.Option(min=0, help="Maximum absolute difference from the framework's outputs.")]
Out = Annotated[Path, typer.Option(help="Folder for <name>/<version>/model.onnx.")]
BUILT = Path(__file__).parents[1] / "build"


REQUIREMENTS = {
    "onnx": "--requirement requirements/build.txt",
    "sklearn": "--requirement requirements/build.txt --requirement requirements/estimator.txt",
    "torch": "'.[export-torch]'",
    "keras": "'.[export-keras]'",
}  # what pip installs, in the folder of the repository
OURS = {
    "onnx", "onnxruntime", "skl2onnx", "sklearn", "skops", "torch", "onnxscript", "keras", "tensorflow", "tf2onnx",
}  # fmt: skip


def _how_to_install(error: ModuleNotFoundError, framework: str) -> str:
    """The error, and the command that installs what the exporter lacks, or what the user's own code imports."""
    module = (error.name or "").partition(".")[0]
    pip = f"{sys.executable} -m pip install"
    if module in OURS:
        return f"{error}; run in the folder of the repository: {pip} {REQUIREMENTS[framework]}"
    return f"{error}, which the model imports and the exporter does not need; run: {pip} {module}"


def _command(framework: str, needs: str) -> None:
    """Add a subcommand. It imports its framework when it runs, so that the other frameworks need not be installed."""

    def command(
        source: Source, name: Name, samples_file: SampleFile, version: Version = 1, outputs: Outputs = "",
        trust: Trust = None, text: Text = None, describe: Describe = None, tolerance: Tolerance = 1e-4,
        out: Out = BUILT,
    ) -> None:  # fmt: skip
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # read when TensorFlow is imported
        names = tuple(one.strip() for one in outputs.split(",") if one.strip())
        try:
            description = manifest.read(describe) if describe else {}
            publish.check_request(name, str(version), description, out)
            request = ExportRequest(
                source, samples.read(samples_file, text or ()), names, tuple(trust or ()), tuple(text or ())
            )
            exporter = importlib.import_module(f"models.exporters.from_{framework}")
            export = publish.rename_outputs(exporter.export(request), names)
            folder = publish.publish(export, name, str(version), description, tolerance, out)
        except ModuleNotFoundError as error:
            typer.echo(f"error: {_how_to_install(error, framework)}", err=True)
            raise typer.Exit(1) from None
        except (BuildError, TypeError, OSError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None
        typer.echo(f"{folder}: {request.samples.rows} rows give the same outputs as {export.framework}")

    app.command(framework, help=f"Export from {framework}; needs {needs}.")(command)


_command("onnx", "the extra `build`")
_command("sklearn", "the extra `build`, and for .skops files `estimator`")
_command("torch", "the extra `export-torch`")
_command("keras", "the extra `export-keras`")

if __name__ == "__main__":
    app()
