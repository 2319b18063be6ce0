"""What can be measured is found by itself; what cannot is answered with what can. Stages; work without a server."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper
from PIL import Image
from typer.testing import CliRunner

from bench.__main__ import application
from bench.messages import SEED
from bench.plan import Plan
from bench.process import run_plan
from bench.rivals.classify_alone import Classifier
from bench.rivals.sklearn_alone import fitted
from bench.stages import parse
from bench.suite import measured_patterns, parts_of
from bench.synchronous import LEAST_BYTES, PHOTO, large_photo


@pytest.mark.parametrize("pattern", ["web_single", "parallel", "prep_pred", "serial", "synchronous"])
def test_every_pattern_with_a_module_has_parts(pattern: str) -> None:
    assert pattern in measured_patterns()
    assert all(callable(one.run) for one in parts_of(pattern).values())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["process"], "web_single"), (["nothing"], "parallel"), (["web_single", "--only", "nothing"], "generator")],
)
def test_what_is_not_there_to_be_measured_is_answered_with_what_is(arguments: list[str], says: str) -> None:
    found = CliRunner().invoke(application, arguments)
    assert found.exit_code == 2
    assert says in found.output


def test_stages_are_read_from_server_timing() -> None:
    assert parse("decode;dur=0.120, own;dur=3, total;dur=4.5") == {"decode": 0.12, "own": 3.0, "total": 4.5}
    assert parse("") == {}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that finds the brightest colour of a 4 x 4 picture."""
    folder = tmp_path_factory.mktemp("colours")
    nodes = [helper.make_node("ReduceMean", ["image"], ["logits"], axes=[2, 3], keepdims=0)]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [None, 3, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, 3])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=10), folder / "model.onnx"
    )
    steps = [{"crop": {"side": 7, "of": 8}}, {"resize": {"width": 4}}, {"normalise": {"mean": 127.0, "scale": 128.0}}]
    manifest = {"preprocessing": {"steps": steps}, "labels": ["red", "green", "blue"]}
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest))
    return folder


def green(folder: Path) -> bytes:
    """A green JPEG, not a square one."""
    file = folder / "green.jpg"
    Image.new("RGB", (40, 20), (10, 200, 30)).save(file)
    return file.read_bytes()


def test_the_work_without_a_server_names_what_is_on_a_picture(classifier: Path, tmp_path: Path) -> None:
    answers = Classifier(classifier).classify(green(tmp_path))
    assert [label for label, _ in answers] == ["green", "blue", "red"]
    assert sum(sure for _, sure in answers) == pytest.approx(1.0)


def test_work_without_a_server_is_measured_as_a_server_is(classifier: Path, tmp_path: Path) -> None:
    plan = Plan(port=0, requests=[green(tmp_path)], connections=1, seconds=0.2, warm_up_seconds=0.05)
    result = run_plan(["bench.rivals.classify_alone", str(classifier)], plan, min(os.sched_getaffinity(0)))
    assert result.answered
    assert 0 < result.p50 <= result.p99 <= result.longest
    assert result.server_cpu


def test_the_estimator_beside_the_graph_gives_probabilities() -> None:
    assert fitted().predict_proba(np.array([[5.1, 3.5, 1.4, 0.2]], np.float32))[0].argmax() == 0


def test_the_large_photo_is_large_and_the_same_every_time(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(SEED).integers(0, 255, (60, 90, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photos" / PHOTO)
    first = large_photo(tmp_path)
    assert len(first) >= LEAST_BYTES
    assert first == large_photo(tmp_path)
