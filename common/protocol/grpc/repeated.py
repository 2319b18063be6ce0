"""Arrays from the numbers of a repeated field and back, in pieces.

Between two pieces other threads get their turn, and only one piece at a time takes the memory of Python objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from common.protocol.tensors import Array

_PIECE = 65_536  # numbers


def to_array(values: Sequence[Any], dtype: np.dtype[Any]) -> Array:
    """An array of a field's numbers."""
    array = np.empty(len(values), dtype)
    for start in range(0, len(values), _PIECE):
        array[start : start + _PIECE] = values[start : start + _PIECE]
    return array


def extend(values: Any, array: Array) -> None:
    """Adds the numbers of a flat array to a field."""
    for start in range(0, len(array), _PIECE):
        values.extend(array[start : start + _PIECE].tolist())
