"""The OCR models as the recipes build them, and the sample documents that check them."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import builder, checks, documents, manifest, ocr, photos
from tests.unit.models import real_models

ROOT = Path(builder.__file__).parents[1]
SAMPLES = ROOT / "patterns" / "serial" / "samples"
# text_recognition_heavy is the same recipe with a larger file; its own build checks it.
SOME = ("page_orientation", "text_detection", "text_recognition")
LINE_STEPS: list[dict[str, Any]] = [
    {"decode": "rgb"},
    {"resize": {"height": 48, "filter": "bilinear"}},
    {"pad": {"width_multiple": 64, "value": 127}},
    {"layout": "NHWC"},
]


@pytest.fixture(scope="module")
def output() -> Path:
    return real_models.kept(*SOME)


def _session(output: Path, name: str) -> onnxruntime.InferenceSession:
    return checks.session((output / name / "1" / "model.onnx").read_bytes())


def _stated(output: Path, name: str) -> manifest.Manifest:
    return manifest.read(output / name / "1" / "model.yaml")


def _preprocessed(output: Path, stated: manifest.Manifest, photo: str) -> NDArray[np.uint8]:
    picture = documents.decode((output / "photos" / photo).read_bytes())
    return photos.preprocess(picture, stated["preprocessing"]["steps"])[None].astype(np.uint8)


def test_another_process_builds_the_same_bytes(tmp_path: Path) -> None:
    assert real_models.differing_files(tmp_path, "text_recognition") == []


@pytest.mark.parametrize("name", SOME)
def test_built_manifest_is_complete_and_the_graph_has_no_metadata(output: Path, name: str) -> None:
    assert manifest.problems(_stated(output, name)) == []
    assert _session(output, name).get_modelmeta().custom_metadata_map == {}


def test_orientation_predicts_its_own_examples(output: Path) -> None:
    stated, session = _stated(output, "page_orientation"), _session(output, "page_orientation")
    for example in stated["examples"]:
        (probabilities,) = checks.answers(session, _preprocessed(output, stated, example["photo"]))
        assert stated["labels"][probabilities.argmax()] == example["answer"]
        assert probabilities.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (32, 64), (37, 101), (200, 33)])
def test_detector_takes_images_of_any_size(output: Path, size: tuple[int, int]) -> None:
    pictures = np.full((2, *size, 3), 200, np.uint8)
    assert checks.answers(_session(output, "text_detection"), pictures).shape == (2, *size)


def test_detector_finds_nothing_on_an_empty_page(output: Path) -> None:
    pictures = np.full((1, 333, 250, 3), 240, np.uint8)
    assert checks.answers(_session(output, "text_detection"), pictures).max() < 0.3


def test_recogniser_reads_its_own_examples(output: Path) -> None:
    stated, session = _stated(output, "text_recognition"), _session(output, "text_recognition")
    for example in stated["examples"]:
        (characters,) = checks.answers(session, _preprocessed(output, stated, example["photo"]))
        assert ocr.ctc_decode(characters, stated["labels"]) == example["answer"]


def test_lines_of_the_same_width_can_be_batched(output: Path) -> None:
    session = _session(output, "text_recognition")
    lines = np.random.default_rng(0).integers(0, 256, (3, 48, 128, 3), np.uint8)
    together: list[NDArray[Any]] = session.run(None, {"image": lines})
    for row in range(len(lines)):
        alone = session.run(None, {"image": lines[row : row + 1]})
        assert (alone[0] == together[0][row]).all()
        assert np.abs(alone[1] - together[1][row]).max() < 1e-5


def test_labels_begin_with_the_blank_and_end_with_the_space(output: Path) -> None:
    labels = _stated(output, "text_recognition")["labels"]
    assert (labels[0], labels[-1]) == ("", " ")
    assert set("Invoice 2026-0142: 1,271.28 %&") <= set(labels)


@pytest.mark.parametrize(
    ("characters", "text"),
    [([0, 1, 1, 0, 2], "ab"), ([1, 0, 1], "aa"), ([1, 1, 1], "a"), ([0, 0], ""), ([3, 1, 3, 2, 3], "a b"), ([], "")],
)
def test_repeated_characters_are_merged_unless_a_blank_separates_them(characters: list[int], text: str) -> None:
    assert ocr.ctc_decode(np.array(characters, np.int64), ["", "a", "b", " "]) == text


@pytest.mark.parametrize(
    ("text", "truth", "count"), [("", "abc", 3), ("abc", "abc", 0), ("abd", "abc", 1), ("xab", "abc", 2)]
)
def test_edit_distance(text: str, truth: str, count: int) -> None:
    assert ocr.edit_distance(text, truth) == count


@pytest.mark.parametrize(("size", "width"), [((10, 48), 64), ((64, 48), 64), ((65, 48), 128), ((100, 25), 192)])
def test_a_line_is_resized_to_height_48_and_padded_with_grey(size: tuple[int, int], width: int) -> None:
    line = photos.preprocess(Image.new("RGB", size, (255, 0, 0)), LINE_STEPS)
    assert line.shape == (48, width, 3)
    used = -(-48 * size[0] // size[1])
    assert (line[:, :used] == [255, 0, 0]).all()
    assert (line[:, used:] == 127).all()


@pytest.mark.parametrize(
    ("size", "shape"), [((1440, 1080), (720, 960, 3)), ((384, 191), (478, 960, 3)), ((1, 5000), (960, 1, 3))]
)
def test_an_image_is_resized_by_its_longer_side(size: tuple[int, int], shape: tuple[int, ...]) -> None:
    steps: list[dict[str, Any]] = [
        {"decode": "rgb"},
        {"resize": {"longest": 960, "filter": "bilinear"}},
        {"layout": "NHWC"},
    ]
    assert photos.preprocess(Image.new("RGB", size), steps).shape == shape


def test_samples_are_the_generated_documents() -> None:
    wheels = ROOT / "models" / "build" / ".wheels"
    for name, content in documents.files(wheels).items():
        kept = (SAMPLES / name).read_bytes()
        assert len(kept) <= 250_000
        drawn, sent = (np.asarray(Image.open(io.BytesIO(it)).convert("RGB"), np.float32) for it in (content, kept))
        assert np.abs(drawn - sent).mean() < 1, f"{name} is out of date; run python -m models.documents {SAMPLES}"
    assert (SAMPLES / "LICENCE.md").read_text("utf-8") == documents.NOTE


@pytest.mark.parametrize(("name", "lines"), [("invoice", documents.invoice_lines()), ("page", documents.PAGE_LINES)])
def test_the_text_of_the_samples_is_next_to_them(name: str, lines: list[documents.TextLine]) -> None:
    assert json.loads((SAMPLES / f"{name}.json").read_text("utf-8")) == {"lines": [line.text for line in lines]}


def test_the_invoice_adds_up() -> None:
    texts = [line.text for line in documents.invoice_lines()]
    net, vat, total = (float(texts[texts.index(it) + 1].replace(",", "")) for it in ("Net", "VAT 19 %", "Total EUR"))
    assert net == sum(quantity * cents for _, quantity, cents in documents.ITEMS) / 100
    assert total == pytest.approx(net + vat)
