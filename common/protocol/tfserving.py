"""TensorFlow Serving over REST: JSON bodies in row format (`instances`), in column format (`inputs`), and examples.

Specification: the RESTful API page of TensorFlow Serving's documents. A tensor states neither datatype nor shape: the
model defines the datatype, and the nesting of the lists is the shape.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import orjson

from common.errors import InvalidInput, PayloadTooLarge
from common.protocol.json_body import Payload, decode_json
from common.protocol.tensors import DATATYPES, MAX_RANK, Array, TensorSpec, datatype_of, nested_json
from common.protocol.values import check_json_numbers
from common.request.capacity import SMALL

Tensor = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"description": "A value, or nested lists of them."})]
_BYTES_SUFFIX = "_bytes"  # as in TensorFlow Serving, strings of outputs with this suffix are sent as base64


class Base64(msgspec.Struct, forbid_unknown_fields=True):
    """Bytes, encoded as base64, since JSON has only text."""

    b64: str


class TfServingPredictRequest(msgspec.Struct):
    """The body of POST /v1/models/{model}:predict. It has either `instances` or `inputs`."""

    signature_name: str = ""
    instances: Tensor = msgspec.field(default_factory=msgspec.Raw)
    inputs: Tensor = msgspec.field(default_factory=msgspec.Raw)

    @property
    def by_row(self) -> bool:
        return bool(self.instances)


Scalar = bool | int | float | str | Base64 | None  # None: a number that is missing
Example = dict[str, Scalar | list[Scalar]]


class ExamplesRequest(msgspec.Struct):
    """The body of POST /v1/models/{model}:classify and :regress. Every example has the features of `context`, too."""

    examples: list[Example]
    signature_name: str = ""
    context: Example = {}


_predict = msgspec.json.Decoder(TfServingPredictRequest)
_examples = msgspec.json.Decoder(ExamplesRequest)
_rows = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_columns = msgspec.json.Decoder(dict[str, msgspec.Raw])
_anything = msgspec.json.Decoder()
_text = msgspec.json.Decoder(str)


def check_size(body: Payload, specs: Sequence[TensorSpec], most_rows: int) -> None:
    """Raises PayloadTooLarge for a large body with more rows in row format than a request may have.

    Every row of named inputs, and every value in base64, has a brace. So has text, whose model may get more.
    """
    if len(body) > SMALL and not any(spec.datatype == "BYTES" for spec in specs):
        found = bytes(body).count(b"{")
        if found > most_rows + 64:
            raise PayloadTooLarge.at("instances", f"expected at most {most_rows} rows, got {found}")


def decode_predict(body: Payload) -> TfServingPredictRequest:
    """Decodes a request, but not yet its tensors. Raises InvalidInput unless it has one of `instances` and `inputs`."""
    request = decode_json(_predict, body)
    if bool(request.instances) == bool(request.inputs):
        raise InvalidInput.at("body", "expected either instances (row format) or inputs (column format)")
    return request


def decode_examples(body: Payload) -> ExamplesRequest:
    """Decodes a request of :classify or :regress. Raises InvalidInput that names the field."""
    return decode_json(_examples, body)


def features(request: ExamplesRequest) -> Iterator[dict[str, list[Any]]]:
    """The values of each example by name, without those of the context. Base64 is decoded to bytes."""
    return (by_name(example, f"examples[{index}]") for index, example in enumerate(request.examples))


def by_name(example: Example, where: str) -> dict[str, list[Any]]:
    return {name: _listed(value, f"{where}.{name}") for name, value in example.items()}


def _listed(value: Scalar | list[Scalar], where: str) -> list[Any]:
    found = value if isinstance(value, list) else [value]
    return [decode_base64(one.b64, where) if isinstance(one, Base64) else one for one in found]


def files(request: TfServingPredictRequest, names: Collection[str]) -> list[bytes] | None:
    """The files in a request to a model that takes pictures, one for each row; None when the request has tensors.

    A file is `{"b64": text}`, alone or under one of `names`, as an input of type string has it. Raises InvalidInput for
    a row that is no file beside others that are.
    """
    where = "instances" if request.by_row else "inputs"
    rows = _rows_of_files(request.instances if request.by_row else request.inputs, names, where)
    texts = [_file_of(row, names, f"{where}[{index}]") for index, row in enumerate(rows)]
    if not texts or texts[0] is None:
        return None
    found = []
    for index, text in enumerate(texts):
        if text is None:
            raise InvalidInput.at(f"{where}[{index}]", f'expected {{"b64": text}}, got {str(list(rows[index]))[:60]}')
        found.append(decode_base64(text, f"{where}[{index}]"))
    return found


def _rows_of_files(data: msgspec.Raw, names: Collection[str], where: str) -> list[dict[str, msgspec.Raw]]:
    """The objects that may be files; empty for anything else, such as numbers, which stay undecoded."""
    opening = _opening(data)
    if opening == b"[{":
        return decode_json(_rows, data, where)
    if not opening.startswith(b"{") or where == "instances":
        return []
    columns = decode_json(_columns, data, where)
    if len(columns) == 1 and (name := next(iter(columns))) in names:
        return _rows_of_files(columns[name], (), f"{where}.{name}")
    return [columns]


def _file_of(row: dict[str, msgspec.Raw], names: Collection[str], where: str) -> str | None:
    """The base64 text of a file; None for anything else."""
    if len(row) != 1:
        return None
    ((name, value),) = row.items()
    if name == "b64" and _opening(value).startswith(b'"'):
        return decode_json(_text, value, where)
    if name in names and _opening(value).startswith(b"{"):
        return _file_of(decode_json(_columns, value, where), (), where)
    return None


def arrays(request: TfServingPredictRequest, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """The inputs by name. Raises InvalidInput for names, types and nestings that do not match these inputs."""
    if not request.by_row:
        return _by_column(request.inputs, specs)
    opening = _opening(request.instances)
    if not opening.startswith(b"[") or opening == b"[]":
        raise InvalidInput.at("instances", "expected a list of at least one instance")
    if opening == b"[{" and not _is_base64(request.instances, specs, 0):
        return _by_row(request.instances, specs)
    return _only_input(request.instances, specs, "instances")


def _by_row(data: msgspec.Raw, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    rows = decode_json(_rows, data, "instances")
    names = _given(rows[0], specs)
    for index, row in enumerate(rows):
        if row.keys() != names:
            raise InvalidInput.at(f"instances[{index}]", f"expected {sorted(names)}, got {sorted(row)}")
    columns = {name: b"[%b]" % b",".join(memoryview(row[name]) for row in rows) for name in names}
    given = [spec for spec in specs if spec.name in names]
    return {spec.name: _array(columns[spec.name], spec, f"instances.{spec.name}") for spec in given}


def _given(found: Mapping[str, object], specs: Sequence[TensorSpec]) -> set[str]:
    """The names of the inputs that a request has to give: all but the optional ones that it leaves out."""
    return {spec.name for spec in specs if spec.name in found or not spec.optional}


def _by_column(data: msgspec.Raw, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    if not _opening(data).startswith(b"{") or _is_base64(data, specs):
        return _only_input(data, specs, "inputs")
    columns = decode_json(_columns, data, "inputs")
    names = _given(columns, specs)
    if columns.keys() != names:
        raise InvalidInput.at("inputs", f"expected {sorted(names)}, got {sorted(columns)}")
    given = [spec for spec in specs if spec.name in names]
    return {spec.name: _array(columns[spec.name], spec, f"inputs.{spec.name}") for spec in given}


def _only_input(data: msgspec.Raw, specs: Sequence[TensorSpec], where: str) -> dict[str, Array]:
    """The values of the only input of a model, which the request need not name."""
    if len(specs) != 1:
        raise InvalidInput.at(where, f"expected values by name for the inputs {[spec.name for spec in specs]}")
    return {specs[0].name: _array(data, specs[0], where)}


def _opening(data: msgspec.Raw | bytes) -> bytes:
    """The first two characters that are not white space, among the first 1024."""
    return bytes(memoryview(data)[:1024]).translate(None, b" \t\r\n")[:2]


def _is_base64(data: msgspec.Raw, specs: Sequence[TensorSpec], *at: int) -> bool:
    """Whether an object is the base64 value of the only input, and not an object of inputs by name."""
    if len(specs) != 1 or specs[0].datatype != "BYTES":
        return False
    value = decode_json(_anything, data)
    for index in at:
        value = value[index]
    return set(value) == {"b64"}


def _array(data: msgspec.Raw | bytes, spec: TensorSpec, where: str) -> Array:
    if spec.datatype == "FP16":
        raise InvalidInput.at(where, "FP16 has no JSON form; use gRPC")
    if spec.datatype == "BYTES":
        return _strings(decode_json(_anything, data, where), where)
    if _opening(data).startswith(b"["):
        return nested_json(data, spec.dtype, where, spec.missing)
    return nested_json(b"".join((b"[", memoryview(data), b"]")), spec.dtype, where, spec.missing).reshape(())


def _strings(value: Any, where: str) -> Array:
    array = np.array(_encoded(value, where), dtype=object)
    if not all(isinstance(one, bytes) for one in array.reshape(-1)):
        raise InvalidInput.at(where, "expected rows of equal length")
    return array


def _encoded(value: Any, where: str, depth: int = 0) -> Any:
    """Replaces text and `{"b64": text}` by bytes, within nested lists as well."""
    if isinstance(value, list) and depth < MAX_RANK:
        return [_encoded(one, f"{where}[{index}]", depth + 1) for index, one in enumerate(value)]
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        return decode_base64(value["b64"], where)
    raise InvalidInput.at(where, f'expected text or {{"b64": text}}, got {str(value)[:40]}')


def decode_base64(text: str, where: str) -> bytes:
    """Decodes base64; padding may be missing. Raises InvalidInput."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput.at(where, f"is not valid base64: {text[:40]!r}") from None


def encode_predictions(outputs: Mapping[str, Array], by_row: bool) -> bytes:
    """The body of a response: `predictions` by row, else `outputs`. The values of several outputs are named.

    Raises InvalidInput when the outputs differ in their number of rows, and for NaN and infinity.
    """
    values = {name: serializable(name, array) for name, array in outputs.items()}
    if not by_row:
        response: Any = {"outputs": values if len(values) > 1 else next(iter(values.values()))}
    else:
        _check_rows(outputs)
        names = tuple(values)
        rows = [dict(zip(names, row, strict=True)) for row in zip(*values.values(), strict=True)]
        response = {"predictions": rows if len(values) > 1 else values[names[0]]}
    return _dumped(response, outputs)


def encode_results(results: Sequence[Any]) -> bytes:
    """The response of :classify ([[label, score], ...] for each example) or :regress (a value for each example)."""
    return orjson.dumps({"results": results}, option=orjson.OPT_SERIALIZE_NUMPY)


def _dumped(response: Any, outputs: Mapping[str, Array]) -> bytes:
    body = orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" in body:  # orjson writes NaN and infinity as null; a string may contain "null", too
        for name, array in outputs.items():
            check_json_numbers(array, name, "call Predict over gRPC")
    return body


def _check_rows(outputs: Mapping[str, Array]) -> None:
    shapes = {name: list(array.shape) for name, array in outputs.items()}
    if not all(shapes.values()) or len({shape[0] for shape in shapes.values()}) != 1:
        raise InvalidInput.at(
            "instances", f"the outputs differ in their number of rows ({shapes}); use the column format, `inputs`"
        )


def serializable(name: str, array: Array) -> Any:
    """An output as a value that orjson can write, nested like its shape."""
    datatype = datatype_of(array)
    if datatype == "BYTES":
        return _texts(array.tolist(), name.endswith(_BYTES_SUFFIX))
    # orjson accepts only one of numpy's two types of 64-bit integers, no FP16 arrays, and no arrays without dimension
    known = array.astype(np.float32) if datatype == "FP16" else array.view(DATATYPES[datatype])
    return np.ascontiguousarray(known) if known.ndim else known[()]


def _texts(value: Any, as_base64: bool) -> Any:
    if isinstance(value, list):
        return [_texts(one, as_base64) for one in value]
    raw = value if isinstance(value, bytes) else str(value).encode()
    return {"b64": base64.b64encode(raw).decode()} if as_base64 else raw.decode(errors="replace")
