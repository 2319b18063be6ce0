"""Sends the model's own examples to the running API and shows the answers; then sends a wrong request."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from typing import Any
from urllib.error import HTTPError

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common.client.plain import curl_key, opened
from common.endpoints.row_answers import RowAnswers
from common.inference.examples import example_inputs
from common.inference.manifest import Manifest, TensorEntry
from common.protocol.rows import Column, columns_of
from common.protocol.tensors import Array

MOST_VALUES = 10  # shown of one output
MOST_SENT = 1000  # of an input for which the model has no example
Tree = dict[str, Any]


def main(url: str) -> None:
    """Prints the answers to the model's examples: of POST /predict for rows of named values, else of /v2.

    Raises SystemExit if the service refuses them.
    """
    console = Console(highlight=False, soft_wrap=True)
    model = Manifest.model_validate(_ask(f"{url}/metadata")[1]["model"])
    columns = columns_of(model.input_specs())
    rows = [(row, example.get("answer", "")) for example in model.examples if (row := _row(example, columns))]
    if rows and RowAnswers(model.output_specs(), model.labels).output is not None:
        _predict(console, url, model, rows)
    else:
        _infer(console, url, model)


def _row(example: Tree, columns: Sequence[Column]) -> Tree:
    """The named values of an example; empty if it gives none."""
    given, names = example.get("features"), [column.name for column in columns]
    if isinstance(given, dict):
        return given
    return dict(zip(names, given, strict=True)) if isinstance(given, list) and len(given) == len(names) else {}


def _predict(console: Console, url: str, model: Manifest, examples: Sequence[tuple[Tree, object]]) -> None:
    rows = [row for row, _ in examples]
    answer = _answered(f"{url}/predict", {"instances": rows})
    truth = [str(answer) for _, answer in examples]
    console.print(_table(model.title or model.name, rows, answer["predictions"], truth))
    name = next(iter(rows[0]))
    value = 5 if isinstance(rows[0][name], str) else "long"
    _, wrong = _ask(f"{url}/predict", {"instances": [{**rows[0], name: value}]})
    console.print(f"\na wrong request gets an error for each field: {_reason(wrong)}", markup=False)
    _curl(console, f"{url}/predict", {"instances": rows[:1]})


def _infer(console: Console, url: str, model: Manifest) -> None:
    to = f"{url}/v2/models/{model.name}/infer"
    example = next(iter(example_inputs(model)), {})
    entries = [one for one in model.inputs if one.name in example or not one.optional]
    inputs = [_tensor(entry, example.get(entry.name)) for entry in entries]
    if too_large := [one["name"] for one in inputs if one["data"] is None]:
        console.print(f"{model.name} has no example, and its input {too_large[0]} is too large to be written here")
        console.print(f"send a request yourself: POST {to} (JSON or binary tensors)")
        return
    table = Table("output", "datatype", "shape", "values", title=escape(model.title or model.name))
    for one in _answered(to, {"inputs": inputs})["outputs"]:
        table.add_row(one["name"], one["datatype"], str(one["shape"]), escape(_values(one["data"])))
    console.print(table)
    _, wrong = _ask(to, {"inputs": [{**inputs[0], "name": "unknown"}, *inputs[1:]]})
    console.print(f"\na wrong request is refused with its reason: {_reason(wrong)}", markup=False)
    _curl(console, to, {"inputs": inputs})


def _tensor(entry: TensorEntry, example: Array | None) -> Tree:
    """An input as a request has it: of an example, of the features' examples, or of zeros; None if too large."""
    shape = [1 if size < 0 else size for size in entry.shape] if example is None else list(example.shape)
    count = math.prod(shape)
    features = [feature.example for feature in entry.features]
    empty = {"BYTES": "", "BOOL": False}.get(entry.datatype, 0)
    data: list[Any] | None = [empty] * count if count <= MOST_SENT else None
    if example is not None:
        data = [None if value != value else value for value in example.reshape(-1).tolist()]  # NaN is null in JSON
    elif len(features) == count and None not in features:
        data = features
    return {"name": entry.name, "datatype": entry.datatype, "shape": shape, "data": data}


def _answered(to: str, body: Tree) -> Tree:
    """The body of a response with status 200. Raises SystemExit with the reason of another one."""
    status, answer = _ask(to, body)
    if status != 200:
        raise SystemExit(f"error: POST {to} answered {status}: {_reason(answer)}; the service is still running")
    return answer


def _values(data: Sequence[Any]) -> str:
    shown = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in data[:MOST_VALUES]]
    return ", ".join(shown) + (f" and {len(data) - MOST_VALUES} more" if len(data) > MOST_VALUES else "")


def _curl(console: Console, url: str, body: Tree) -> None:
    data = shlex.quote(json.dumps(body))
    console.print(
        f"\nsend a request yourself:\n  curl {url}{curl_key()} -H 'Content-Type: application/json' -d {data}",
        markup=False,
    )


def _ask(url: str, body: Tree | None = None) -> tuple[int, Tree]:
    """Status and JSON of the answer; a text that is not JSON is given as `detail`."""
    try:
        with opened(url, json.dumps(body).encode() if body else None, {"Content-Type": "application/json"}) as answer:
            status, text = answer.status, answer.read()
    except HTTPError as error:
        status, text = error.code, error.read()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, {"detail": text.decode(errors="replace")[:500]}


def _reason(answer: Tree) -> str:
    return str(answer.get("detail") or answer.get("error") or answer)


def _table(title: str, rows: list[Tree], predictions: list[Tree], truth: list[str]) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for heading in (*rows[0], "answer", "truth"):
        table.add_column(escape(heading.replace("_", " ")))
    for row, prediction, true in zip(rows, predictions, truth, strict=True):
        cells = [*map(_cell, row.values()), _text(prediction), true]
        table.add_row(*map(escape, cells))
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _text(prediction: Tree) -> str:
    label = prediction.get("label")
    if label is not None:
        share = prediction.get("probabilities", {}).get(label)
        return str(label) if share is None else f"{label} ({share:.0%})"
    value = prediction["value"]
    return f"{value:.2f} {prediction['unit']}".rstrip() if isinstance(value, float) else str(value)
