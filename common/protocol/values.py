"""Which values of a tensor a receiver can take: text for a model whose input is text, finite numbers for JSON."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from common.errors import InvalidInput
from common.protocol.tensors import Array

OIP_INSTEAD = "request it as binary data from /v2, or over gRPC"
MOST_TEXTS = 2_048  # elements that are converted on the event loop: about a millisecond


def many_texts(arrays: Iterable[Array]) -> bool:
    """Whether arrays have more text or bytes than are converted on the event loop, each by itself."""
    return sum(array.size for array in arrays if array.dtype == object) > MOST_TEXTS


def as_text(array: Array, where: str) -> Array:
    """BYTES elements as text, for a model whose input is text. Raises InvalidInput for one that is not UTF-8."""
    texts = np.empty(array.shape, dtype=object)
    flat = texts.reshape(-1)
    for index, one in enumerate(array.reshape(-1)):
        try:
            flat[index] = one if isinstance(one, str) else bytes(one).decode()
        except UnicodeDecodeError as error:
            raise InvalidInput.at(
                f"{where}.data", f"expected text in UTF-8, but element {index} is not: {error.reason}, {one[:40]!r}"
            ) from None
    return texts


def text_of(raw: bytes | memoryview, where: str) -> str:
    """Bytes as text. Raises InvalidInput for what is not UTF-8."""
    try:
        return bytes(raw).decode()
    except UnicodeDecodeError as error:
        found = bytes(raw[error.start : error.start + 8])
        raise InvalidInput.at(where, f"expected text in UTF-8, got {found!r} at byte {error.start}") from None


def check_json_numbers(array: Array, name: str, instead: str) -> None:
    """Raises InvalidInput for an output with NaN or infinity, which JSON cannot carry. `instead`: what to do."""
    if array.dtype.kind != "f":
        return
    flat = array.reshape(-1)
    wrong = np.flatnonzero(~np.isfinite(flat))
    if len(wrong):
        found = f"{flat[wrong[0]]} at element {wrong[0]}"
        raise InvalidInput.at("outputs", f"{name!r} has {found}, which JSON cannot carry; {instead}")
