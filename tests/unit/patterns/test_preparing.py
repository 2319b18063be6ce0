"""What prep refuses before any model is asked: what is not UTF-8, and numbers where they have no place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from common.client import PredictorRequest
from common.errors import FieldError, InvalidInput, PayloadTooLarge, UnsupportedMedia
from common.inference.executor import BoundedExecutor
from common.preprocessing.steps import Preparer
from common.protocol.tensors import Array, TensorSpec
from common.request.deadline import Deadline
from patterns.prep_pred.predict import _instances, as_sent
from patterns.prep_pred.preparing import Preparation
from tests.unit.common.endpoints.item_models import lengths, sums


async def prepared(folder: Path, model: Any, *items: bytes) -> Mapping[str, Array]:
    version = folder / "1"
    version.mkdir()
    (version / "model.yaml").write_text(yaml.safe_dump(model.manifest.model_dump(mode="json", exclude_unset=True)))
    with BoundedExecutor() as executor:
        preparation = Preparation(folder, executor, 1000)
        given = PredictorRequest({"instances": np.array(items, object)}, Deadline.after(20))
        return (await preparation.infer(given)).outputs


@pytest.mark.parametrize(
    ("model", "items", "reason"),
    [
        (
            lengths(),
            (b"na\xc3\xafve", b"na\xefve"),
            r"instances\[1\].text: expected text in UTF-8, got b'\\xefve' at byte 2",
        ),
        (sums(), (b'{"a": 1, "b": 2}', b'{"a": 1, "\xff": 2}'), r"instances\[1\]: is not valid JSON"),
        (sums(), (b'{"a": NaN, "b": 2}',), r"instances\[0\]: is not valid JSON"),
        (sums(), (b'{"a": "300", "b": 2}',), r"instances\[0\].a: expected a number, got '300'"),
        *((sums(), (one,), r"instances\[0\]: expected `object`, got ") for one in (b"300", b"-1", b"1.7")),
    ],
)
async def test_a_wrong_item_is_refused_by_name(
    tmp_path: Path, model: Any, items: tuple[bytes, ...], reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        await prepared(tmp_path, model, *items)


async def test_what_is_utf_8_is_prepared(tmp_path: Path) -> None:
    outputs = await prepared(tmp_path, lengths(), "na\u00efve".encode(), b"naive")
    assert outputs["row"].tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize("value", ["300", "-1", "1.7", "null", "[]"])
def test_an_instance_that_is_neither_values_nor_text_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match=r"instances\[0\]: expected `str | object`, got "):
        _instances(False, f'{{"instances": [{value}]}}'.encode(), 10)


TOO_LARGE = [FieldError("instances[0].picture", "has 60000 x 60000 pixels")]


def test_a_picture_that_was_the_body_is_refused_as_the_body() -> None:
    error = as_sent(True, PayloadTooLarge("", fields=TOO_LARGE))
    assert (type(error), error.detail) == (PayloadTooLarge, "picture: has 60000 x 60000 pixels")
    assert error.fields == (FieldError("picture", "has 60000 x 60000 pixels"),)


def test_an_instance_in_json_is_refused_as_an_instance() -> None:
    error = as_sent(False, UnsupportedMedia("instances[0].picture: is text", fields=TOO_LARGE))
    assert (type(error), error.fields) == (InvalidInput, tuple(TOO_LARGE))


@pytest.mark.parametrize(
    ("items", "kind"),
    [([17], PayloadTooLarge), ([17, 1, 17], PayloadTooLarge), ([17, 0], InvalidInput), ([0, 0], InvalidInput)],
)
def test_instances_that_are_refused_alike_are_refused_as_what_they_are(items: list[int], kind: type) -> None:
    def step(item: int) -> Array:
        if item > 16 or item == 0:
            raise (PayloadTooLarge if item else InvalidInput).at("picture", "is wrong")
        return np.zeros(1, np.float32)

    steps = Preparer("m", TensorSpec("x", "FP32", (-1, 1)), "picture", [step], "")
    with pytest.raises(InvalidInput, match=r"instances\[0\].picture: is wrong") as caught:
        steps.prepare_many(items)
    assert type(caught.value) is kind
