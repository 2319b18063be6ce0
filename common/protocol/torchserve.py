"""TorchServe's inference API over REST: what a body holds, and the forms of answers and errors.

Specification: the pages "Inference API" and "Management API" of TorchServe's documents. TorchServe is no longer
maintained; its clients are still there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import orjson

from common.errors import InvalidInput, ModelFailed, ServingError
from common.protocol.json_body import Payload
from common.protocol.tensors import Array
from common.protocol.tfserving import serializable

FIELDS = ("data", "body")  # of a form, as TorchServe's handlers look for them
_MOST_PARTS = 64  # of a form
_FORM = "multipart/form-data"
_BOUNDARY = re.compile(r'boundary="?([^";,]{1,70})"?', re.IGNORECASE)
_NAME = re.compile(rb'name="([^"\r\n]*)"', re.IGNORECASE)
_TYPES = {
    400: "BadRequestException", 404: "ModelNotFoundException", 405: "MethodNotAllowedException",
    413: "BadRequestException", 415: "BadRequestException", 503: "ServiceUnavailableException",
    504: "RequestTimeoutException",
}  # fmt: skip


def item_in(headers: Mapping[bytes, bytes], body: Payload) -> Payload:
    """What a request sends: its body, or in a form the part named `data` or `body`. Raises InvalidInput."""
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    if content_type.partition(";")[0].strip().lower() != _FORM:
        return body
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise InvalidInput.at("Content-Type", f"expected {_FORM} with a boundary, got {content_type[:60]!r}")
    parts = _parts(bytes(body), b"--" + boundary[1].encode("latin-1"))
    for field in FIELDS:
        if field.encode() in parts:
            return parts[field.encode()]
    names = ", ".join(name.decode("latin-1")[:40] for name in parts) or "none"
    raise InvalidInput.at("body", f"expected a form with a part named data or body, got: {names}")


def _parts(body: bytes, boundary: bytes) -> dict[bytes, bytes]:
    """The parts of a form by name; of several with one name the first. Raises InvalidInput for too many."""
    found: dict[bytes, bytes] = {}
    parts = (b"\r\n" + body).split(b"\r\n" + boundary, _MOST_PARTS + 2)  # what precedes them and what ends them, too
    if len(parts) > _MOST_PARTS + 2:
        raise InvalidInput.at("body", f"expected a form of at most {_MOST_PARTS} parts, got more")
    for part in parts[1:]:
        head, separator, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if separator and name:
            found.setdefault(name[1], content)
    return found


def encode_labels(labels: Mapping[str, float]) -> bytes:
    """The answer of a classifier: the probability of each of the most probable labels."""
    return orjson.dumps(labels)


def encode_rows(array: Array) -> bytes:
    """The answer of any other model: its first output as nested lists. Raises ModelFailed for NaN and infinity."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ModelFailed("the output contains NaN or infinity, which JSON cannot express; use /v2 with binary output")
    return orjson.dumps(serializable("", array), option=orjson.OPT_SERIALIZE_NUMPY)


def error_body(error: ServingError) -> bytes:
    """An error as TorchServe words it."""
    kind = _TYPES.get(error.status, "InternalServerException")
    return orjson.dumps({"code": error.status, "type": kind, "message": error.detail})
