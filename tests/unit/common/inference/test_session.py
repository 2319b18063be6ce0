"""A model file is opened only when it is what its manifest says; warming it tells whether callers may share a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.inference.manifest import ModelLoadError
from common.inference.session import open_model
from common.inference.warm_up import warm_up
from tests.unit.common.inference import tiny_models as tiny


def refusal(folder: Path) -> str:
    with pytest.raises(ModelLoadError) as caught:
        open_model(folder, threads=1)
    assert "\n" not in caught.value.detail
    assert str(folder) in caught.value.detail
    return caught.value.detail


def alone(folder: Path) -> str | None:
    manifest, session = open_model(folder, threads=1)
    return warm_up(session, manifest).unbatched_reason


def test_outputs_come_in_the_manifests_order(tmp_path: Path) -> None:
    _, session = open_model(tiny.write(tmp_path, tiny.total(2)), threads=1)
    (sums,) = session.run({"x": np.array([[1, 2], [3, 4]], np.float32)})
    assert sums.tolist() == [6, 14]


def tensors(name: str, datatype: str, *shape: int) -> list[dict[str, Any]]:
    return [{"name": name, "datatype": datatype, "shape": list(shape)}]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inputs": tensors("z", "FP32", -1, 2)}, "model.yaml names input 'z', but the model has ['x']"),
        ({"outputs": tensors("z", "FP32", -1)}, "model.yaml names output 'z', but the model has ['y']"),
        ({"inputs": tensors("x", "FP64", -1, 2)}, "input 'x' is FP32 [-1, 2], but model.yaml says FP64 [-1, 2]"),
        ({"inputs": tensors("x", "FP32", -1, 3)}, "input 'x' is FP32 [-1, 2], but model.yaml says FP32 [-1, 3]"),
        ({"inputs": tensors("x", "FP32", 2)}, "input 'x' is FP32 [-1, 2], but model.yaml says FP32 [2]"),
        ({"outputs": tensors("y", "INT64", -1)}, "output 'y' is FP32 [-1], but model.yaml says INT64 [-1]"),
        ({"outputs": tensors("y", "FP32", -1, 1)}, "output 'y' is FP32 [-1], but model.yaml says FP32 [-1, 1]"),
        ({"sha256": "0" * 64}, "but model.yaml says 000000000000…: the file is incomplete"),
    ],
)
def test_a_model_that_is_not_what_its_manifest_says_is_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    assert reason in refusal(tiny.write(tmp_path, tiny.total(), **changes))


def test_an_input_that_the_manifest_leaves_out_is_refused(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path, tiny.sum_of_two_inputs(), inputs=tensors("x", "FP32", -1))
    assert "the model needs inputs that model.yaml does not name: ['z']" in refusal(folder)


@pytest.mark.parametrize("model", [b"", b"PK\x03\x04 no ONNX at all", tiny.total()[:-40]])
def test_a_file_that_is_not_onnx_is_refused_with_its_path(tmp_path: Path, model: bytes) -> None:
    assert "ONNX Runtime cannot open it" in refusal(tiny.write(tmp_path, model))


def test_a_half_copied_file_is_refused_by_its_checksum(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path, tiny.total())
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[: len(whole) // 2])
    assert "the file is incomplete" in refusal(folder)


@pytest.mark.parametrize("name", ["model.onnx", "model.yaml"])
def test_a_missing_file_is_named_with_what_builds_it(tmp_path: Path, name: str) -> None:
    folder = tiny.write(tmp_path, tiny.total())
    (folder / name).unlink()
    assert (
        f"{name}: No such file or directory; build the model with `make models` if it has a recipe, else export"
        in refusal(folder)
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "file: found nothing, expected "),
        (b"name: [", "is not valid YAML"),
        (b"\xff\xfe\x00\x01", "is not valid YAML: expected text in UTF-8, got other bytes"),
        (b"a: " + b"[" * 5000, "is not valid YAML"),
        (b"name: 2020-99-99", "is not valid YAML"),
        (b"name: tiny\nversion: 1\n", "version: found 1, expected text; put it in quotes; inputs: is missing"),
        (b"name: ../tiny\n", "name: found '../tiny', expected 1 to 100 letters, digits"),
        (b"inputs: [{mising: true}]", "inputs.0.mising: unknown key, expected one of: name, datatype, shape, features"),
        (b"inputs: [{features: [{low: 1}]}]", "inputs.0.features.0.low: unknown key, expected one of: name, unit"),
        (b"labels: [no, yes]", "labels.0: found False, expected text; put it in quotes"),
        (b"task: classify", "task: found 'classify', expected 'classification', "),
        (b"sha256: 12ab", "sha256: found '12ab', expected 64 hexadecimal digits"),
    ],
)
def test_an_invalid_manifest_is_refused_by_field(tmp_path: Path, text: bytes, reason: str) -> None:
    folder = tiny.write(tmp_path, tiny.total())
    (folder / "model.yaml").write_bytes(text)
    assert reason in refusal(folder)


def test_rows_that_do_not_depend_on_each_other_may_share_a_run(tmp_path: Path) -> None:
    assert alone(tiny.write(tmp_path, tiny.total())) is None


@pytest.mark.parametrize(
    ("model", "changes", "reason"),
    [
        (tiny.against_the_others(), {}, "the outputs of a row differ by more than 1e-05 when it shares a run"),
        (tiny.against_the_others(whole=True), {"outputs": tensors("y", "INT64", -1)}, "the outputs of a row differ"),
        (tiny.one_row_only(), {}, "the model fails on a batch of 8 rows"),
        (tiny.total(), {"batching": None}, "model.yaml states no batching tolerance"),
        (
            tiny.fixed_rows(),
            {"inputs": tensors("x", "FP32", 1, 2), "outputs": tensors("y", "FP32", 1)},
            "the first dimension of an input or output is not free",
        ),
        (tiny.sorted_rows(), {}, "the outputs of a row differ by more than"),
        (tiny.drops_negative_rows(), {}, "operator Compress may choose rows by their values"),
    ],
)
def test_warming_says_why_callers_may_not_share_a_run(
    tmp_path: Path, model: bytes, changes: dict[str, Any], reason: str
) -> None:
    assert reason in (alone(tiny.write(tmp_path, model, **changes)) or "")


def test_warming_tells_what_a_run_costs(tmp_path: Path) -> None:
    manifest, session = open_model(tiny.write(tmp_path, tiny.total()), threads=1)
    cost = warm_up(session, manifest).cost
    assert 0 < cost.of(1) <= cost.of(100) < 1
