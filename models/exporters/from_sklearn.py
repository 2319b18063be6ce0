"""scikit-learn to ONNX: a fitted classifier (probabilities and the index of the likeliest class) or regressor."""

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
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from models import graph
from models.errors import BuildError
from models.exporters.export import OPSET, Export, Request, existing, is_function, made, one_line

INPUT = "features"


def export(request: Request) -> Export:
    """The estimator of a .skops file or a function. BuildError for one that is not fitted or cannot be converted."""
    if is_function(request.source):
        estimator = made(request.source)
    else:
        estimator = _opened(existing(request.source, ".skops"), request.trusted)
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError) as error:
        raise BuildError(f"{request.source}: {error}") from None
    columns = _columns(estimator, request)
    rows = request.samples.only().astype(np.float32)
    if is_classifier(estimator):
        model, answers, found = _classifier(estimator, rows)
    elif is_regressor(estimator):
        model, answers, found = _regressor(estimator, rows)
    else:
        raise BuildError(f"{type(estimator).__name__} is neither a classifier nor a regressor")
    return Export(model, {INPUT: rows}, answers, f"scikit-learn {sklearn.__version__}", found, columns)


def _opened(path: Path, trusted: Sequence[str]) -> Any:
    """What a .skops file holds; types that nobody trusts are refused by name, before anything of theirs is run."""
    from skops import io

    try:
        unknown = sorted(set(io.get_untrusted_types(file=path)) - set(trusted))
        if unknown:
            raise BuildError(f"{path}: holds {', '.join(unknown)}; if you know them, say so with --trust")
        return io.load(path, trusted=list(trusted))
    except (OSError, ValueError, BadZipFile) as error:
        raise BuildError(f"{path}: is no model that skops can open: {one_line(error)}") from None


def _columns(estimator: Any, request: Request) -> list[str]:
    """The names of the columns, as the estimator was fitted with them, or else as the samples have them."""
    fitted = [str(name) for name in getattr(estimator, "feature_names_in_", [])]
    if fitted and request.samples.columns and fitted != request.samples.columns:
        raise BuildError(f"the samples' columns are {request.samples.columns}, the estimator's {fitted}")
    return fitted or request.samples.columns


def _classifier(estimator: Any, rows: Any) -> tuple[onnx.ModelProto, dict[str, Any], dict[str, Any]]:
    if not hasattr(estimator, "predict_proba"):
        raise BuildError(f"{type(estimator).__name__} gives no probabilities; put it into a CalibratedClassifierCV")
    probabilities = _asked(estimator.predict_proba, rows)
    if not isinstance(probabilities, np.ndarray):
        raise BuildError(f"{type(estimator).__name__} answers several questions at once; export one model for each")
    model = _converted(estimator, rows, {"zipmap": False})
    _declare(model, rows, ["probabilities", "label"], probabilities.shape[1])
    answers = {"probabilities": probabilities.astype(np.float32), "label": probabilities.argmax(axis=1)}
    return model, answers, {"task": "classification", "labels": [str(one) for one in estimator.classes_]}


def _regressor(estimator: Any, rows: Any) -> tuple[onnx.ModelProto, dict[str, Any], dict[str, Any]]:
    values = np.asarray(_asked(estimator.predict, rows), np.float32).reshape(len(rows), -1)
    model = _converted(estimator, rows, {})
    graph.rename(model.graph, model.graph.output[0].name, "value")
    _declare(model, rows, ["value"], values.shape[1])
    return model, {"value": values}, {"task": "regression"}


def _asked(answer: Callable[[Any], Any], rows: Any) -> Any:
    """The estimator's own answers; one that was fitted on a data frame is asked by position."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
            return answer(rows)
    except (ValueError, TypeError) as error:
        raise BuildError(f"scikit-learn cannot answer these samples: {one_line(error)}") from None


def _converted(estimator: Any, rows: Any, options: dict[str, Any]) -> onnx.ModelProto:
    types = [(INPUT, FloatTensorType([None, rows.shape[1]]))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what skl2onnx looks at in an estimator, scikit-learn may call deprecated
            model: onnx.ModelProto = to_onnx(estimator, initial_types=types, options=options, target_opset=OPSET)
    except Exception as error:  # a converter raises whatever its estimator makes it raise
        raise BuildError(f"skl2onnx cannot convert {type(estimator).__name__}: {one_line(error)}") from None
    return model


def _declare(model: onnx.ModelProto, rows: Any, outputs: list[str], width: int) -> None:
    """States the inputs and outputs; the label is the place of the greatest probability, whatever the classes are."""
    entries = [{"name": outputs[0], "datatype": "FP32", "shape": [-1, width]}]
    if "label" in outputs:
        graph.rename(model.graph, "label", "label_by_class_list")
        model.graph.node.append(helper.make_node("ArgMax", outputs[:1], ["label"], name="label", axis=1, keepdims=0))
        entries.append({"name": "label", "datatype": "INT64", "shape": [-1]})
    features = {"name": INPUT, "datatype": "FP32", "shape": [-1, rows.shape[1]]}
    graph.declare(model, {"inputs": [features], "outputs": entries})
