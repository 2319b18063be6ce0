"""Says what a service would say of a model: `python -m common.inference.check FOLDER` (of model.onnx and model.yaml).

It opens the model, runs its examples and probes, and reads its outputs as POST /predict does, but serves nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from common.endpoints.row_answers import RowAnswers
from common.inference.examples import example_inputs
from common.inference.manifest import Manifest, ModelLoadError
from common.inference.run_time import unbounded_reason
from common.inference.session import open_model
from common.inference.warm_up import warm_up
from common.protocol.rows import columns_of


def report(folder: Path) -> list[str]:
    """What a service does with the model in the folder of a version, one sentence a line.

    Raises ModelLoadError for a model that it would not serve.
    """
    manifest, session = open_model(folder, threads=1)
    warm = warm_up(session, manifest)
    lines = [f"model {manifest.name!r} version {manifest.version} can be served"]
    if (folder.parent.name, folder.name) != (manifest.name, manifest.version):
        lines.append(f"warning: a repository has it in the folder {manifest.name}/{manifest.version}")
    if warm.warning is not None:
        lines.append(f"warning: no probe ran: {warm.warning}")
    elif not example_inputs(manifest):
        lines.append("warning: model.yaml has no examples, so no request of yours was tried")
    lines.append(f"/predict: {_predict(manifest)}")
    lines.append(f"batching: {f'no, {warm.unbatched_reason}' if warm.unbatched_reason else 'yes'}")
    unbounded = unbounded_reason(session.facts, manifest.input_specs()) if session.facts else "the file is not readable"
    lines.append(f"runs on the event loop: {f'no, {unbounded}' if unbounded else 'if a run is quick'}")
    return lines


def _predict(manifest: Manifest) -> str:
    columns = columns_of(manifest.input_specs())
    answers = RowAnswers(manifest.output_specs(), manifest.labels)
    if not columns:
        return "no, the inputs have no named features; use /v2/models/NAME/infer"
    if answers.output is None:
        return "no, no output has one row for each input row; use /v2/models/NAME/infer"
    names = ", ".join(column.name for column in columns)
    kind = f"one of {len(answers.labels)} labels" if answers.labels else "values"
    return f"takes {names}; answers {kind} from output {answers.output!r}"


def main(arguments: list[str]) -> int:
    """Prints the report of each folder, or of the versions in it. Returns the exit code."""
    failed = False
    for argument in arguments:
        given = Path(argument)
        versions = sorted(path.parent for path in given.glob("*/model.yaml"))
        for folder in [given] if (given / "model.yaml").exists() or not versions else versions:
            try:
                print("\n".join(report(folder)))
            except ModelLoadError as error:
                print(f"error: {error.detail}", file=sys.stderr)
                failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
