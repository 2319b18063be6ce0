"""Where both protocols meet: inputs that have been checked go in, the outputs that were asked for come out."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.endpoints.backend import InferRequest
from common.errors import DeadlineExceeded, InvalidInput
from common.inference.onnx_backend import OnnxBackend, loggable
from common.protocol.tensors import Array
from common.request.context import RequestContext
from common.request.deadline import Deadline
from common.request.trace import continue_trace
from tests.unit.common.inference import tiny_models as tiny
from tests.unit.common.inference.fake_sessions import rows
from tests.unit.common.inference.temporary_repository import TemporaryRepository


@pytest.fixture
def repository(tmp_path: Path) -> TemporaryRepository:
    return TemporaryRepository(tmp_path)


async def infer(
    repository: TemporaryRepository, inputs: dict[str, Array], *wanted: str, seconds: float = 30.0
) -> dict[str, Any]:
    backend = OnnxBackend(repository.models, repository.inference_metrics, repository.logged.logs.log)
    context = RequestContext("POST", "/", "id", continue_trace(None), Deadline.after(seconds))
    response = await backend.infer(InferRequest(context, repository.models.get("tiny"), inputs, wanted))
    assert (response.model_name, response.model_version) == ("tiny", "1")
    return {name: output.tolist() for name, output in response.outputs.items()}


async def test_outputs_have_their_names(repository: TemporaryRepository) -> None:
    repository.put("1", 1)
    async with repository.open("tiny"):
        for wanted in ((), ("y",), ("y", "y")):
            assert await infer(repository, rows(1, 2), *wanted) == {"y": [2, 4]}
        with pytest.raises(InvalidInput, match="model 'tiny' has no output 'z'"):
            await infer(repository, rows(1), "y", "z")


async def test_after_the_deadline_nothing_is_computed(repository: TemporaryRepository) -> None:
    repository.put("1", 1)
    async with repository.open("tiny"):
        with pytest.raises(DeadlineExceeded, match="before inference started"):
            await infer(repository, rows(1), seconds=-1)
        assert not any(repository.inference_metrics.batch_size.labelled("tiny").buckets)


async def test_an_input_may_be_a_single_number(repository: TemporaryRepository) -> None:
    inputs = [{"name": "x", "datatype": "FP32", "shape": []}]
    outputs = [{"name": "y", "datatype": "FP32", "shape": []}]
    tiny.write(repository.root, tiny.graph(tiny.node("Neg", "x", "y"), x=[], y=[]), inputs=inputs, outputs=outputs)
    async with repository.open("tiny"):
        assert await infer(repository, {"x": np.array(3, np.float32)}) == {"y": -3}


@pytest.mark.parametrize(
    ("array", "labels", "logged"),
    [
        (np.array([[1, 2]], np.uint8), (), {"shape": (1, 2), "data": [1, 2]}),
        (np.array(["a"], object), (), {"shape": (1,), "data": ["a"]}),
        (np.zeros((1, 8, 8, 3), np.uint8), (), {"shape": (1, 8, 8, 3), "sha256": sha256(bytes(192)).hexdigest()}),
        (np.array([b"JPEG" * 1000], object), (), {"shape": (1,), "sha256": sha256(b"JPEG" * 1000).hexdigest()}),
        (np.eye(100)[[7]], [f"class {at}" for at in range(100)], {"class 7": 1.0}),
    ],
    ids=["numbers", "text", "pixels", "an encoded picture", "scores"],
)
def test_a_picture_is_logged_as_a_digest_and_its_scores_with_labels(
    array: Array, labels: list[str], logged: dict[str, Any]
) -> None:
    found = loggable(array, labels)
    if not labels:
        assert found == logged
        return
    (top,) = found["labels"]
    assert (len(top), next(iter(top.items()))) == (5, next(iter(logged.items())))
