"""The role `api` of the variant estimator: serves a scikit-learn estimator itself, behind the same routes.

The folder of the version holds model.yaml and the estimator as model.skops, whose sha256 the manifest states under
`source`. A pickle is never read: it may run any code when it is opened, and skops opens only types that are trusted.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from common.inference.manifest import Manifest, ModelLoadError, one_line, read_manifest
from common.observability.log import Logs
from common.protocol.tensors import Array, check_finite
from common.roles.process import ServiceProcess
from patterns.synchronous import api

FILE = "model.skops"


class Settings(api.Settings):
    """The environment of the `api` service of this variant."""

    model: str = Field("iris_estimator", pattern=r"\w", description="The model to serve; its folder has model.skops.")
    trusted_types: str = Field(
        "", description="Types in model.skops that may be loaded beside those that skops trusts, separated by commas."
    )

    @property
    def trusted(self) -> list[str]:
        return [name.strip() for name in self.trusted_types.split(",") if name.strip()]


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """The API with estimators in place of ONNX models."""
    return api.api_process(settings, logs, partial(open_estimator, settings.trusted), estimator_files)


def estimator_files(manifest: Manifest) -> dict[str, str]:
    """The file of an estimator with its sha256. Raises ModelLoadError if the manifest states none."""
    stated = manifest.source.get(FILE)
    if not stated:
        raise ModelLoadError(f"model.yaml states no sha256 of the estimator; expected `source: {{{FILE}: SHA256}}`")
    return {FILE: stated}


class EstimatorSession:
    """A classifier or a regressor of scikit-learn, as a session: it takes and gives the tensors of the manifest."""

    facts = None  # of a graph: there is none, so no run is known to be short, and all of them take the thread

    def __init__(self, estimator: Any, manifest: Manifest) -> None:
        self._estimator, (entry, *_) = estimator, manifest.inputs
        self._input, self._missing = entry.name, entry.missing
        self._classifies = manifest.task.endswith("classification")
        self._outputs = manifest.output_specs()
        self._with_label = any(spec.name == "label" for spec in self._outputs)

    def run(self, inputs: dict[str, Array]) -> Sequence[Array]:
        """The outputs. Raises InvalidInput for NaN or infinity in numbers of which none may be missing."""
        rows = inputs[self._input]
        if rows.dtype.kind == "f" and not self._missing:
            check_finite(rows, "inputs[0]")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
            if self._classifies:
                shares = np.asarray(self._estimator.predict_proba(rows))
                found = {"probabilities": shares}
                if self._with_label:
                    found["label"] = self._labels(rows, shares)
            else:
                found = {self._outputs[0].name: np.asarray(self._estimator.predict(rows)).reshape(len(rows), -1)}
        return [found[spec.name].astype(spec.dtype) for spec in self._outputs]

    def _labels(self, rows: Array, shares: Array) -> Array:
        """The index of the class that the estimator predicts, which need not be the most probable one."""
        classes = getattr(self._estimator, "classes_", None)
        if classes is None:
            return np.asarray(shares.argmax(axis=1))
        order = np.argsort(classes)
        return np.asarray(order[np.searchsorted(classes, self._estimator.predict(rows), sorter=order)])


def open_estimator(trusted: Collection[str], folder: Path, threads: int) -> tuple[Manifest, EstimatorSession]:
    """Opens the estimator in the folder of a version.

    Raises ModelLoadError when a file is missing, when its sha256 is not the one in model.yaml, when it holds a type
    that is not trusted, or when its inputs, outputs or classes differ from the manifest. `threads` is for ONNX models.
    """
    manifest, path = read_manifest(folder / "model.yaml"), folder / FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelLoadError(f"{path}: {error.strerror}; save the estimator with skops.io.dump") from None
    stated, found = manifest.source.get(FILE, ""), hashlib.sha256(content).hexdigest()
    if found != stated:
        raise ModelLoadError(
            f"{path}: sha256 is {found}, but model.yaml states {stated or 'none'} under `source: {{{FILE}: ...}}`; "
            "copy both files again, or state the digest of a file that you trust"
        )
    estimator = _loaded(content, trusted, path)
    session = EstimatorSession(estimator, manifest)
    _check_outputs(session, manifest, path)
    _check_classes(getattr(estimator, "classes_", None), manifest.labels, path)
    return manifest, session


def _loaded(content: bytes, trusted: Collection[str], path: Path) -> Any:
    try:
        from skops import io  # with scikit-learn, which only the image of this variant has
    except ImportError as error:
        raise ModelLoadError(f"{path}: {error}; install requirements/estimator.txt") from None
    try:
        unknown = sorted(set(io.get_untrusted_types(data=content)) - set(trusted))
        if unknown:
            raise ModelLoadError(
                f"{path}: holds the types {', '.join(unknown)}, which are not trusted; if you know them, "
                "list them in TRUSTED_TYPES"
            )
        return io.loads(content, trusted=list(trusted))
    except ModelLoadError:
        raise
    except Exception as error:  # skops and the constructors of an estimator raise many classes here
        raise ModelLoadError(f"{path}: skops cannot load it: {one_line(error, 300)}") from None


def _check_outputs(session: EstimatorSession, manifest: Manifest, path: Path) -> None:
    """Raises ModelLoadError unless a row gives the outputs of the manifest."""
    (spec, *others) = manifest.input_specs()
    if others or len(spec.shape) != 2 or spec.datatype == "BYTES":
        raise ModelLoadError(f"{path}: expected a manifest with one input of rows of numbers")
    try:
        outputs = session.run({spec.name: np.zeros((1, spec.shape[1]), spec.dtype)})
    except Exception as error:  # an estimator raises many classes here
        text = one_line(error, 300)
        raise ModelLoadError(f"{path}: the estimator does not fit model.yaml: {type(error).__name__}: {text}") from None
    for wanted, given in zip(manifest.output_specs(), outputs, strict=True):
        if len(given.shape) != len(wanted.shape) or given.shape[1:] != wanted.shape[1:]:
            raise ModelLoadError(
                f"{path}: the estimator gives {wanted.name!r} of shape {list(given.shape)} for one row, "
                f"but model.yaml says {list(wanted.shape)}"
            )


def _check_classes(classes: Any, labels: Sequence[str], path: Path) -> None:
    """Raises ModelLoadError unless the labels are the estimator's classes, in its order.

    Classes that are the numbers 0, 1, 2... have no names of their own, so labels of other names are theirs.
    """
    if classes is None or not labels:
        return
    found = [str(one) for one in classes]
    numbered = all(not isinstance(one, str) and one == i for i, one in enumerate(classes))
    if len(found) == len(labels) and (found == list(labels) or (numbered and not set(found) & set(labels))):
        return
    raise ModelLoadError(
        f"{path}: the estimator's classes_ are {_listed(found)}, but model.yaml states the labels {_listed(labels)}; "
        "expected the same ones in the same order"
    )


def _listed(names: Sequence[str], most: int = 10) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return f"[{', '.join(name[:40] for name in names[:most])}{more}]"
