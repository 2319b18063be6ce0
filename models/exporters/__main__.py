"""Command line: `python -m models.exporters sklearn|torch|keras SOURCE --name NAME --samples FILE`."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Annotated

import typer

from models import manifest
from models.errors import BuildError
from models.exporters import placing, samples
from models.exporters.export import Request

app = typer.Typer(add_completion=False, help=__doc__)

Source = Annotated[str, typer.Argument(help="A file or folder, or package.module:function that gives the model.")]
Name = Annotated[str, typer.Option(help="The name it is served by.")]
SampleFile = Annotated[Path, typer.Option("--samples", help="Real inputs: .npz by name, .npy, or .csv with a header.")]
Version = Annotated[int, typer.Option(min=1, help="Its version; one that is there is never replaced.")]
Outputs = Annotated[str, typer.Option(help="Names for its outputs, with commas between; default: those it has.")]
Trust = Annotated[list[str] | None, typer.Option(help="A type in a .skops file that you know, though skops does not.")]
Describe = Annotated[Path | None, typer.Option(help=f"YAML with some of: {', '.join(placing.DESCRIBED)}.")]
Tolerance = Annotated[float, typer.Option(min=0, help="How far an answer may be from the framework's own.")]
Out = Annotated[Path, typer.Option(help="Folder for <name>/<version>/model.onnx.")]
BUILT = Path(__file__).parents[1] / "build"


def _command(framework: str, needs: str) -> None:
    """One subcommand; the framework's library is imported when it runs, so that one need not have the others."""

    def command(
        source: Source, name: Name, samples_file: SampleFile, version: Version = 1, outputs: Outputs = "",
        trust: Trust = None, describe: Describe = None, tolerance: Tolerance = 1e-4, out: Out = BUILT,
    ) -> None:  # fmt: skip
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow looks at it when it is imported
        names = tuple(one.strip() for one in outputs.split(",") if one.strip())
        try:
            said = manifest.read(describe) if describe else {}
            request = Request(source, samples.read(samples_file), names, tuple(trust or ()))
            exporter = importlib.import_module(f"models.exporters.from_{framework}")
            export = placing.renamed(exporter.export(request), names)
            folder = placing.place(export, name, str(version), said, tolerance, out)
        except ModuleNotFoundError as error:
            typer.echo(f"error: {error}; install {needs}", err=True)
            raise typer.Exit(1) from None
        except (BuildError, TypeError, OSError) as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from None
        typer.echo(f"{folder}: answers as {export.framework} does on {request.samples.rows} rows")

    app.command(framework, help=f"Export from {framework}; needs {needs}.")(command)


_command("sklearn", "the extra `build`")
_command("torch", "the extra `export-torch`")
_command("keras", "the extra `export-keras`")

if __name__ == "__main__":
    app()
