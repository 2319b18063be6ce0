"""The step `{cast: FP32}`, usually the last one: makes an array of the model's datatype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from common.protocol.choices import convert
from common.protocol.tensors import DATATYPES


def compiled(steps: Sequence[tuple[str, Any]]) -> list[Callable[[Any], Any]]:
    (parameter,) = [parameter for _, parameter in steps]
    dtype = DATATYPES[convert(parameter, Literal["FP32", "FP64"])]
    return [lambda numbers: np.asarray(numbers, dtype)]
