"""Sends the model's own examples to the running API and shows the answers; then sends a wrong request."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from itertools import chain
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from rich.console import Console
from rich.table import Table

MOST_VALUES = 10  # shown of one output
MOST_SENT = 1000  # of an input for which the model has no example
NOT_NUMBERS = ("BYTES", "BOOL")
Tree = dict[str, Any]


def main(url: str) -> None:
    """Prints the answers to the model's examples: of POST /predict for a row of named numbers, else of /v2."""
    console = Console(highlight=False, soft_wrap=True)
    model = _ask(f"{url}/metadata")[1]["model"]
    if _named_numbers(model):
        _predict(console, url, model)
    else:
        _infer(console, url, model)


def _named_numbers(model: Tree) -> bool:
    """Whether POST /predict takes this model's rows, and it has examples of them."""
    first, *others = model["inputs"]
    names = [feature["name"] for feature in first["features"]]
    rows = [example["features"] for example in model["examples"] if "features" in example]
    alike = bool(rows) and all(len(row) == len(names) for row in rows)
    return not others and bool(names) and alike and first["datatype"] not in NOT_NUMBERS


def _predict(console: Console, url: str, model: Tree) -> None:
    names = [feature["name"] for feature in model["inputs"][0]["features"]]
    examples = [example for example in model["examples"] if "features" in example]
    rows = [dict(zip(names, example["features"], strict=True)) for example in examples]
    status, answer = _ask(f"{url}/predict", {"instances": rows})
    if status != 200:
        console.print(f"POST /predict answered {status}: {_reason(answer)}")
        return
    truth = [str(example.get("answer", "")) for example in examples]
    console.print(_table(model["title"] or model["name"], rows, answer["predictions"], truth))
    _, wrong = _ask(f"{url}/predict", {"instances": [{**rows[0], names[0]: "long"}]})
    console.print(f"\na wrong request gets an error for each field: {_reason(wrong)}")
    _curl(console, f"{url}/predict", {"instances": rows[:1]})


def _infer(console: Console, url: str, model: Tree) -> None:
    to = f"{url}/v2/models/{model['name']}/infer"
    inputs = [_tensor(entry, model["examples"]) for entry in model["inputs"]]
    if too_large := [one["name"] for one in inputs if one["data"] is None]:
        console.print(f"{model['name']} has no example, and its input {too_large[0]} is too large to be written here")
        console.print(f"send a request yourself: POST {to} (JSON or binary tensors)")
        return
    status, answer = _ask(to, {"inputs": inputs})
    if status == 200:
        table = Table("output", "datatype", "shape", "values", title=model["title"] or model["name"])
        for one in answer["outputs"]:
            table.add_row(one["name"], one["datatype"], str(one["shape"]), _values(one["data"]))
        console.print(table)
    else:
        console.print(f"POST {to} answered {status}: {_reason(answer)}")
    _, wrong = _ask(to, {"inputs": [{**inputs[0], "name": "unknown"}, *inputs[1:]]})
    console.print(f"\na wrong request is refused with its reason: {_reason(wrong)}")
    _curl(console, to, {"inputs": inputs})


def _tensor(entry: Tree, examples: Sequence[Tree]) -> Tree:
    """An input as a request has it: of the first example, of the features' examples, or of zeros; None if too large."""
    shape = [1 if size < 0 else size for size in entry["shape"]]
    count = math.prod(shape)
    example = examples[0] if examples else {}
    given = _flat(example.get("inputs", example).get(entry["name"], example.get("features", [])))
    features = [feature["example"] for feature in entry["features"]]
    empty = {"BYTES": "", "BOOL": False}.get(entry["datatype"], 0)
    data: list[Any] | None = [empty] * count if count <= MOST_SENT else None
    if len(given) == count:
        data = given
    elif len(features) == count and None not in features:
        data = features
    return {"name": entry["name"], "datatype": entry["datatype"], "shape": shape, "data": data}


def _flat(data: object) -> list[Any]:
    """The values of a nested list, in row-major order."""
    return list(chain.from_iterable(_flat(one) for one in data)) if isinstance(data, list) else [data]


def _values(data: Sequence[Any]) -> str:
    shown = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in data[:MOST_VALUES]]
    return ", ".join(shown) + (f" and {len(data) - MOST_VALUES} more" if len(data) > MOST_VALUES else "")


def _curl(console: Console, url: str, body: Tree) -> None:
    data = shlex.quote(json.dumps(body))
    console.print(
        f"\nsend a request yourself:\n  curl {url} -H 'Content-Type: application/json' -d {data}", markup=False
    )


def _ask(url: str, body: Tree | None = None) -> tuple[int, Tree]:
    """Status and JSON of the answer; a text that is not JSON is given as `detail`."""
    request = Request(url, json.dumps(body).encode() if body else None, {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=30) as answer:
            status, text = answer.status, answer.read()
    except HTTPError as error:
        status, text = error.code, error.read()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, {"detail": text.decode(errors="replace")[:500]}


def _reason(answer: Tree) -> str:
    return str(answer.get("detail") or answer.get("error") or answer)


def _table(title: str, rows: list[dict[str, float]], predictions: list[Tree], truth: list[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in (*rows[0], "answer", "truth"):
        table.add_column(heading.replace("_", " "))
    for row, prediction, true in zip(rows, predictions, truth, strict=True):
        table.add_row(*(f"{value:g}" for value in row.values()), _text(prediction), true)
    return table


def _text(prediction: Tree) -> str:
    if "label" in prediction:
        return f"{prediction['label']} ({prediction['probabilities'][prediction['label']]:.0%})"
    value = prediction["value"]
    return f"{value:.2f} {prediction['unit']}".rstrip() if isinstance(value, float) else str(value)
