"""Exports fitted scikit-learn estimators: classifiers (probabilities and index of the greatest) and regressors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import onnx
import sklearn
from onnx import helper
from skl2onnx import to_onnx
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from models import graph
from models.errors import BuildError
from models.exporters.export import OPSET, Export, ExportRequest, call_factory, existing_path, is_function, one_line
from models.exporters.fitted import text_columns
from models.exporters.table import SampleTable, table_of

INPUT = "features"


def export(request: ExportRequest) -> Export:
    """Export the estimator of a .skops file or a function. Raises BuildError if it is not fitted or not convertible."""
    if is_function(request.source):
        estimator = call_factory(request.source)
    else:
        estimator = _load(existing_path(request.source, ".skops"), request.trusted)
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError) as error:
        raise BuildError(f"{request.source}: {error}") from None
    columns = _columns(estimator, request)
    text = text_columns(estimator, columns) & set(request.samples.cells)
    rows = table_of(request.samples.with_text(text | set(request.text)), estimator, INPUT)
    if is_classifier(estimator):
        model, answers, metadata = _classifier(estimator, rows)
    elif is_regressor(estimator):
        model, answers, metadata = _regressor(estimator, rows)
    else:
        raise BuildError(f"found {type(estimator).__name__}, expected a classifier or a regressor")
    return Export(model, rows.inputs, answers, f"scikit-learn {sklearn.__version__}", metadata, columns)


def _load(path: Path, trusted: Sequence[str]) -> Any:
    """Load a .skops file. Types that neither skops nor `trusted` allows are refused before any of their code runs."""
    from skops import io

    try:
        unknown = sorted(set(io.get_untrusted_types(file=path)) - set(trusted))
        if unknown:
            raise BuildError(f"{path}: holds the untrusted types {', '.join(unknown)}; allow each with --trust TYPE")
        return io.load(path, trusted=list(trusted))
    except (OSError, ValueError, BadZipFile) as error:
        raise BuildError(f"{path}: skops cannot load it: {one_line(error)}") from None


def _columns(estimator: Any, request: ExportRequest) -> list[str]:
    """The names of the columns that the estimator was fitted with, or else those of the samples."""
    fitted = [str(name) for name in getattr(estimator, "feature_names_in_", [])]
    if fitted and request.samples.columns and fitted != request.samples.columns:
        raise BuildError(f"the samples have the columns {request.samples.columns}, the estimator expects {fitted}")
    return fitted or request.samples.columns


def _classifier(estimator: Any, rows: SampleTable) -> tuple[onnx.ModelProto, dict[str, Any], dict[str, Any]]:
    if not hasattr(estimator, "predict_proba"):
        raise BuildError(f"{type(estimator).__name__} has no predict_proba; wrap it in a CalibratedClassifierCV")
    probabilities = _run(estimator.predict_proba, rows.given)
    if not isinstance(probabilities, np.ndarray):
        raise BuildError(f"{type(estimator).__name__} has several targets, expected one; export one model for each")
    model = _convert(estimator, rows, {"zipmap": False})
    _declare(model, rows, ["probabilities", "label"], probabilities.shape[1])
    answers = {"probabilities": probabilities.astype(np.float32), "label": probabilities.argmax(axis=1)}
    return model, answers, {"task": "classification", "labels": [str(it) for it in estimator.classes_]}


def _regressor(estimator: Any, rows: SampleTable) -> tuple[onnx.ModelProto, dict[str, Any], dict[str, Any]]:
    values = np.asarray(_run(estimator.predict, rows.given), np.float32).reshape(rows.rows, -1)
    model = _convert(estimator, rows, {})
    graph.rename(model.graph, model.graph.output[0].name, "value")
    _declare(model, rows, ["value"], values.shape[1])
    return model, {"value": values}, {"task": "regression"}


def _run(answer: Callable[[Any], Any], rows: Any) -> Any:
    """Call the estimator on rows. One that was fitted on a data frame gets its columns by position."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
            return answer(rows)
    except (ValueError, TypeError) as error:
        hint = "; name a column that is text of digits with --text" if "isnan" in str(error) else ""
        raise BuildError(f"scikit-learn cannot run the model on these samples: {one_line(error)}{hint}") from None


def _convert(estimator: Any, rows: SampleTable, options: dict[str, Any]) -> onnx.ModelProto:
    types = rows.types
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # skl2onnx reads attributes that scikit-learn has deprecated
            model: onnx.ModelProto = to_onnx(estimator, initial_types=types, options=options, target_opset=OPSET)
    except Exception as error:  # a converter may raise any exception
        hint = _conversion_hint(estimator, str(error))
        raise BuildError(f"skl2onnx cannot convert {type(estimator).__name__}: {one_line(error)}{hint}") from None
    for node in model.graph.node:
        if node.op_type == "StringNormalizer":  # ONNX Runtime's default, en_US, is missing in most images
            node.attribute.append(helper.make_attribute("locale", "C.UTF-8"))
    return model


def _conversion_hint(estimator: Any, error: str) -> str:
    """What to change in an estimator for which skl2onnx has no converter."""
    if "missing values are string" in error:
        return '; for text, use SimpleImputer(missing_values=""), and write "" for a missing text in the table to fit'
    flags = [value for name, value in estimator.get_params().items() if name.endswith("add_indicator")]
    if any(value is True for value in flags):
        return "; skl2onnx does not convert SimpleImputer(add_indicator=True), so fit without it"
    return ""


def _declare(model: onnx.ModelProto, rows: SampleTable, outputs: list[str], width: int) -> None:
    """Declare the inputs and outputs. The label is the argmax of the probabilities, whatever the classes are called."""
    entries = [{"name": outputs[0], "datatype": "FP32", "shape": [-1, width]}]
    if "label" in outputs:
        graph.rename(model.graph, "label", "label_by_class_list")
        model.graph.node.append(helper.make_node("ArgMax", outputs[:1], ["label"], name="label", axis=1, keepdims=0))
        entries.append({"name": "label", "datatype": "INT64", "shape": [-1]})
    graph.declare(model, {"inputs": rows.entries, "outputs": entries})
