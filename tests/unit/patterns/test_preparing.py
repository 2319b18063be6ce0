"""What prep refuses before any model is asked: what is not UTF-8, and numbers where they have no place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from common.client import PredictorRequest
from common.errors import InvalidInput
from common.inference.executor import BoundedExecutor
from common.protocol.tensors import Array
from common.request.deadline import Deadline
from patterns.prep_pred.predict import _instances
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
