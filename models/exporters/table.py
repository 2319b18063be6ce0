"""The samples as scikit-learn and skl2onnx take them: one matrix of numbers, or a table with columns of text."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skl2onnx.common.data_types import FloatTensorType, StringTensorType

from models import manifest
from models.errors import BuildError
from models.exporters.fitted import takes_texts
from models.exporters.samples import Samples


@dataclass(frozen=True)
class SampleTable:
    """`given` is what the estimator takes, `inputs` are the same as inputs of the graph. `entries` describe those."""

    given: Any
    inputs: dict[str, NDArray[Any]]
    types: list[tuple[str, Any]]
    entries: list[manifest.Manifest]

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values())))


def table_of(samples: Samples, estimator: Any, name: str) -> SampleTable:
    """The samples for an estimator. A matrix becomes one input of this name, a table one input for each column."""
    for key, array in samples.arrays.items():
        if array.ndim != 2 or array.dtype.kind not in "fiubO":
            found = f"{key or 'the array'} {array.dtype} {list(array.shape)}"
            raise BuildError(f"--samples: found {found}, expected rows of numbers; a table with text is a .csv file")
    if len(samples.arrays) == 1 and samples.only().dtype.kind in "fiub":
        rows = samples.only().astype(np.float32)
        entry = {"name": name, "datatype": "FP32", "shape": [-1, rows.shape[1]]}
        return SampleTable(rows, {name: rows}, [(name, FloatTensorType([None, rows.shape[1]]))], [entry])
    columns = samples.arrays
    types = [
        (column, StringTensorType([None, 1]) if array.dtype == object else FloatTensorType([None, 1]))
        for column, array in columns.items()
    ]
    entries = [
        {"name": column, "datatype": "BYTES" if array.dtype == object else "FP32", "shape": [-1, 1]}
        for column, array in columns.items()
    ]
    return SampleTable(_given(columns, estimator), columns, types, entries)


def _given(columns: dict[str, NDArray[Any]], estimator: Any) -> Any:
    """A list of texts, a data frame for an estimator that was fitted on one, else an array of objects."""
    if takes_texts(estimator):
        if len(columns) > 1:
            raise BuildError(f"the estimator takes texts, but --samples has the columns {list(columns)}; expected one")
        return next(iter(columns.values()))[:, 0]
    if not hasattr(estimator, "feature_names_in_"):
        return np.hstack([array.astype(object) for array in columns.values()])
    try:
        import pandas as pd  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ModuleNotFoundError:
        raise BuildError(
            "the estimator was fitted on a data frame with text, which pandas makes; run: "
            f"{sys.executable} -m pip install pandas; or fit it on an array, as models/README.md shows"
        ) from None
    return pd.DataFrame({name: array[:, 0] for name, array in columns.items()})
