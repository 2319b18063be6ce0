"""An end-to-end graph gives the same outputs as the network alone after preprocessing by Pillow."""

import io
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from models import checks, end_to_end, photos

SIDE = 32
LABELS = ["red", "green", "blue", "grey"]
STEPS: list[dict[str, Any]] = [
    {"decode": "rgb"},
    {"crop": {"position": "centre", "side": 7, "of": 8}},
    {"resize": {"width": SIDE, "height": SIDE, "filter": "bicubic"}},
    {"normalise": {"mean": 127.0, "scale": 128.0}},
    {"layout": "NCHW"},
]
ONE_LEVEL = 1 / 128  # one grey level after normalisation


def network() -> onnx.ModelProto:
    """A toy network: its logits are the mean of each channel, and the negative mean of red."""
    matrix = np.vstack([np.eye(3), [-1.0, 0.0, 0.0]]).astype(np.float32) * 4
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "matrix"], ["logits"], transB=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph(nodes, "toy", [image], [logits], [numpy_helper.from_array(matrix, "matrix")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def preprocessed_by_graph(picture: Image.Image) -> NDArray[Any]:
    """The tensor that the graph feeds to the network."""
    model = end_to_end.build(network(), STEPS, LABELS, 4)
    model.graph.output.append(
        helper.make_tensor_value_info("end_to_end.scaled", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    )
    session = checks.session(model.SerializeToString())
    (found,) = session.run(["end_to_end.scaled"], {"pixels": np.asarray(picture)[None]})[0]
    return np.asarray(found)


@pytest.mark.parametrize(
    "size",
    [(200, 100), (101, 203), (36, 36), (20, 60), (1, 1), (3, 900), (77, 4)],
    ids=lambda size: "x".join(map(str, size)),
)
def test_preprocessing_is_the_same_as_by_pillow(size: tuple[int, int]) -> None:
    picture = noise(*size)
    difference = np.abs(preprocessed_by_graph(picture) - photos.preprocess(picture, STEPS))
    assert difference.max() <= ONE_LEVEL
    assert difference.mean() < ONE_LEVEL / 20


def test_scores_are_sorted_and_have_their_labels() -> None:
    picture = Image.new("RGB", (50, 40), (40, 255, 130))
    session = checks.session(end_to_end.build(network(), STEPS, LABELS, 3).SerializeToString())
    scores, names = session.run(["scores", "labels"], {"pixels": np.asarray(picture)[None]})
    logits = checks.answers(checks.session(network().SerializeToString()), photos.preprocess(picture, STEPS)[None])[0]
    probabilities = np.exp(logits) / np.exp(logits).sum()
    assert names.tolist() == [["green", "grey", "blue"]]
    assert scores[0] == pytest.approx(np.sort(probabilities)[::-1][:3], abs=1e-6)


def test_images_of_the_same_size_can_be_batched() -> None:
    session = checks.session(end_to_end.build(network(), STEPS, LABELS, 2).SerializeToString())
    pixels = np.stack([np.asarray(noise(60, 40)), np.asarray(Image.new("RGB", (60, 40), (0, 0, 255)))])
    together = session.run(["scores", "labels"], {"pixels": pixels})
    alone = [session.run(["scores", "labels"], {"pixels": one[None]}) for one in pixels]
    for which in (0, 1):
        assert together[which].tolist() == [one[which][0].tolist() for one in alone]


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ({"sharpen": 1}, KeyError),
        ({"decode": "grey"}, ValueError),
        ({"resize": {"width": 8, "height": 8, "filter": "nearest"}}, ValueError),
        ({"layout": "NHWC"}, ValueError),
    ],
)
def test_an_unsupported_step_is_refused(step: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        end_to_end.build(network(), [*STEPS, step], LABELS, 2)


def test_a_jpeg_has_the_same_top_class_in_both_models() -> None:
    stream = io.BytesIO()
    noise(90, 120).save(stream, "JPEG")
    picture = Image.open(stream).convert("RGB")
    session = checks.session(end_to_end.build(network(), STEPS, LABELS, 1).SerializeToString())
    logits = checks.answers(checks.session(network().SerializeToString()), photos.preprocess(picture, STEPS)[None])[0]
    assert session.run(["labels"], {"pixels": np.asarray(picture)[None]})[0][0, 0] == LABELS[int(logits.argmax())]
