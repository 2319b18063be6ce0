"""Every model of the corpus answers as ONNX Runtime alone does, over every surface, or the request is refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from common.inference.manifest import ModelLoadError
from tests.models import surfaces
from tests.models.case import Array, Case, Inputs
from tests.models.corpus import corpus, served, unready
from tests.models.hosted import Hosted, hosted
from tests.models.surfaces import JSON, SURFACES, Refused
from tests.unit.common.inference.temporary_repository import TemporaryRepository

READY, UNREADY = served(), unready()
FRIENDLY = [case for case in READY if case.rows]
SECONDS_TO_REASON = 2.0
NO_EXAMPLES = ("its task is", "more than one value for each example", "no scores of classes", "JSON cannot carry")
Alone = Callable[[Case], Inputs]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    with hosted(READY, tmp_path_factory.mktemp("corpus")) as running:
        yield running


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Inputs]:
    """What ONNX Runtime alone computes for a case, in the order of the manifest's outputs."""
    folder = tmp_path_factory.mktemp("alone")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4

    @cache
    def outputs(name: str) -> Inputs:
        case = corpus()[name]
        path = case.write(folder) / "model.onnx"
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [one["name"] for one in case.manifest["outputs"]]
        return dict(zip(names, session.run(names, case.ask), strict=True))

    return lambda case: outputs(case.name)


def refusal(case: Case, outputs: Inputs, surface: str) -> str | None:
    """Why this surface cannot carry the request or its answer, as the protocols say; None when it can."""
    entries = {one["name"]: one for one in case.manifest["inputs"]}
    kinds = {array.dtype for array in (*case.ask.values(), *outputs.values())}
    if surface == "gRPC typed" and any(array.dtype == np.float16 for array in case.ask.values()):
        return "needs raw_input_contents"
    if surface not in JSON:
        return None
    if surface == "REST JSON" and np.dtype(np.float16) in kinds:
        return "FP16"
    for name, array in case.ask.items():
        if array.dtype == np.float16:
            return "FP16"
        if surface == "TF REST" and array.shape[:1] == (0,) and array.ndim > 1:
            return r"expected \[-1, 4\], got \[0\]"  # an empty list does not tell the further dimensions
        if array.dtype.kind == "f" and np.isnan(array).any() and not entries[name].get("missing"):
            return "JSON has no NaN"
    if any(array.dtype.kind == "f" and not np.isfinite(array).all() for array in outputs.values()):
        return "which JSON cannot carry"
    return None


def has_infinity(inputs: Inputs) -> bool:
    return any(array.dtype.kind == "f" and np.isinf(array).any() for array in inputs.values())


def same(found: Array, wanted: Array) -> bool:
    if wanted.dtype.kind in "OU":
        return found.shape == wanted.shape and found.tolist() == wanted.tolist()
    return found.dtype == wanted.dtype and np.array_equal(found, wanted, equal_nan=wanted.dtype.kind == "f")


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("case", READY, ids=lambda case: case.name)
def test_the_answer_is_that_of_onnx_runtime(server: Hosted, case: Case, surface: str, alone: Alone) -> None:
    outputs = alone(case)
    if surface in JSON and has_infinity(case.ask):
        pytest.skip("JSON has no form for such a request")
    reason = refusal(case, outputs, surface)
    if reason is not None:
        with pytest.raises(Refused, match=reason):
            SURFACES[surface](server, case.name, case.ask)
        return
    found = SURFACES[surface](server, case.name, case.ask)
    assert found.keys() == outputs.keys()
    for name, wanted in outputs.items():
        if surface == "TF REST" and not wanted.size:
            continue  # nested lists do not tell the shape of a tensor without elements
        assert same(found[name], wanted), (name, found[name], wanted)


def scores_of(case: Case, outputs: Inputs) -> Array | None:
    """The score of each label for each row, by the definition of the corpus; None for answers that are values."""
    labels = case.manifest.get("labels")
    floats = [array for array in outputs.values() if array.dtype.kind == "f"]
    if not labels or not floats:
        return None
    scores = floats[0].reshape(len(case.rows), -1)
    return np.hstack([1 - scores, scores]) if scores.shape[1] == 1 else scores


@pytest.mark.parametrize("case", FRIENDLY, ids=lambda case: case.name)
def test_predict_answers_as_onnx_runtime(server: Hosted, case: Case, alone: Alone) -> None:
    outputs = alone(case)
    if any(array.dtype.kind == "f" and not np.isfinite(array).all() for array in outputs.values()):
        with pytest.raises(Refused, match="which JSON cannot carry"):
            surfaces.predicted(server, case)
        return
    found = surfaces.predicted(server, case)
    assert len(found) == len(case.rows)
    scores, labels = scores_of(case, outputs), case.manifest.get("labels", [])
    for index, one in enumerate(found):
        if scores is not None:
            assert one["label"] == label_of(labels, outputs.get("label", scores.argmax(axis=1)), index)
            assert close(list(one["probabilities"].values()), scores[index])
        else:
            main = next(iter(outputs.values()))[index : index + 1]
            value = one["label"] if case.manifest.get("task") == "classification" else one["value"]
            assert close(value, main)


def label_of(labels: list[str], stated: Any, row: int) -> str:
    """What the model's own output of labels says: a label, or its place among them."""
    value = stated.reshape(-1)[row]
    return str(value) if str(value) in labels else labels[int(value)]


def close(value: Any, main: Any) -> bool:
    """Whether values from JSON read back as those of an array."""
    wanted = np.asarray(main)
    kind = object if wanted.dtype.kind in "OU" else wanted.dtype
    return np.asarray(value, kind).reshape(-1).tolist() == wanted.reshape(-1).tolist()


@pytest.mark.parametrize("method", ["classify", "regress"])
@pytest.mark.parametrize("case", FRIENDLY, ids=lambda case: case.name)
def test_examples_are_answered_as_by_onnx_runtime_or_refused(
    server: Hosted, case: Case, method: str, alone: Alone
) -> None:
    outputs = alone(case)
    found, told = None, ""
    try:
        found = surfaces.examples(server, case, method)
    except Refused as error:
        told = str(error)
    if found is None:
        assert any(reason in told for reason in NO_EXAMPLES), told
        return
    if method == "regress":
        main = next(iter(outputs.values()))
        assert close(found, main)
        return
    scores = scores_of(case, outputs)
    scores = next(iter(outputs.values())) if scores is None else scores
    assert close([[score for _, score in one] for one in found], scores)


@pytest.mark.parametrize("case", UNREADY, ids=lambda case: case.name)
async def test_a_model_that_cannot_be_served_says_why_at_once(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path)
    repository = TemporaryRepository(tmp_path)
    start = time.perf_counter()
    with pytest.raises(ModelLoadError) as caught:
        await repository.models.load(case.name)
    assert time.perf_counter() - start < SECONDS_TO_REASON
    assert case.unready in caught.value.detail
    assert "\n" not in caught.value.detail


def test_the_corpus_has_the_size_that_is_promised() -> None:
    assert len(corpus()) >= 60


def test_a_model_that_takes_no_probe_is_served_with_a_warning(server: Hosted) -> None:
    told = {line["model"]: line["reason"] for line in server.logged.lines("warm-up run failed")}
    assert list(told) == ["multiple_of_7"]
    assert "give an example in model.yaml" in told["multiple_of_7"]
