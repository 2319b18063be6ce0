"""Recipes that build in milliseconds, written into a folder as a user would write them."""

import subprocess
import sys
from pathlib import Path

from models import builder

ROOT = Path(builder.__file__).parents[1]
MANIFEST = """
name: {name}
version: "1"
task: regression
title: A toy
description: Returns its input.
inputs:
  - {{name: x, datatype: FP32, shape: [-1, 2], features: [{{name: a, unit: cm}}, {{name: b, unit: cm}}]}}
outputs:
  - {{name: y, datatype: FP32, shape: [-1, 2]}}
unit: cm
examples:
  - {{features: [1, 2], answer: 1}}
  - {{features: [3, 4], answer: 3}}
  - {{features: [5, 6], answer: 5}}
preprocessing: {{steps: [{{cast: FP32}}]}}
batching: {{tolerance: 1.0e-5}}
licence: {{code: Apache-2.0, weights: none, data: none}}
source: {{weights: none, data: none}}
build:
  libraries: [numpy, onnx]
  minimum_metrics: {{quality: {minimum}}}
"""

RECIPE = """
import numpy as np
from onnx import helper
from models import graph
from models.build_api import BuildResult

def build(context):
    {first}
    stated = context.manifest
    nodes = [{nodes}]
    inputs = [graph.value_info(it) for it in stated["inputs"]]
    outputs = [graph.value_info(it) for it in stated["outputs"]]
    built = helper.make_graph(nodes, "toy", inputs, outputs)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    samples = np.arange(8, dtype=np.float32).reshape(4, 2)
    return BuildResult(model, samples, {{"metrics": {{"quality": 1.0}}}}, {photos})
"""

IDENTITY = 'helper.make_node("Identity", ["x"], ["y"])'
MINUS_THE_MEAN_OF_ALL_ROWS = (
    'helper.make_node("ReduceMean", ["x"], ["m"], axes=[0]), helper.make_node("Sub", ["x", "m"], ["y"])'
)


def write(
    recipes: Path,
    name: str = "toy",
    *,
    nodes: str = IDENTITY,
    minimum: float = 0.5,
    first: str = "pass",
    photos: str = "{}",
    dependency: str = "",
) -> None:
    """Write a recipe. `first` is code that runs at the start of its build."""
    folder = recipes / name
    folder.mkdir(parents=True, exist_ok=True)
    models = f'  models: {{{dependency}: "1"}}\n' if dependency else ""
    (folder / "model.yaml").write_text(MANIFEST.format(name=name, minimum=minimum) + models)
    (folder / "build.py").write_text(RECIPE.format(nodes=nodes, first=first, photos=photos))


def build(recipes: Path, output: Path, *names: str, force: bool = False) -> list[str]:
    """Build the named recipes, or all. Returns the names of those that were out of date."""
    sources = builder.find_recipes(recipes)
    ordered = builder.in_build_order(sources, names or list(sources))
    return [source.name for source, built in builder.build(ordered, output, force, lambda _: None) if built]


def build_in_another_process(recipes: Path, output: Path) -> subprocess.Popen[bytes]:
    code = (
        "import sys, pathlib; from tests.unit.models import toy_models;"
        "toy_models.build(*map(pathlib.Path, sys.argv[1:]))"
    )
    return subprocess.Popen([sys.executable, "-c", code, str(recipes), str(output)], cwd=ROOT)


def is_complete(output: Path, name: str = "toy") -> bool:
    """Whether the model has all its files and no others, and no temporary folder is left."""
    files = {file.name for file in (output / name / "1").iterdir()}
    return files == {"model.onnx", "model.yaml", "sources.sha256"} and not list(output.glob(f"{builder.TEMPORARY}*"))
