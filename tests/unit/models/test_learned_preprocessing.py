"""Models whose preprocessing is in model.yaml: common/preprocessing computes the same features as training did."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_iris

from common.inference.manifest import read_manifest
from common.preprocessing.steps import Preparer, preparer
from models import builder, gettext_catalogues, manifest, pinned_wheels, text_classifier
from models.build_api import BuildContext
from models.errors import BuildError
from models.iris_standardised import build as iris_standardised
from models.message_topic_ja import build as message_topic_ja
from models.penguins import build as penguins
from models.text_language import build as text_language
from tests.unit.models import real_models

ROOT = Path(builder.__file__).parents[1]
MODELS = ("iris_standardised", "penguins", "text_language", "message_topic_ja")
EXACT = 1e-6
# Sentences about other topics than the messages that the model was trained on.
EVERYDAY = {
    "en": "The train to Berlin leaves at nine from platform four.",
    "de": "Morgen fahren wir mit dem Zug nach Hamburg und essen dort Fisch.",
    "fr": "Je voudrais un café et une tarte aux pommes, s'il vous plaît.",
    "it": "Dove posso comprare un biglietto per la metropolitana?",
    "es": "¿A qué hora sale el tren de la mañana?",
    "nl": "Waar kan ik hier een kopje koffie kopen?",
    "pl": "Jutro będzie padać deszcz i będzie zimno.",
    "cs": "Zítra bude pršet a bude docela zima.",
    "fi": "Huomenna sataa vettä ja on melko kylmä.",
    "tr": "Yarın yağmur yağacak ve hava soğuk olacak.",
    "el": "Αύριο θα βρέξει και θα κάνει κρύο.",
    "ja": "明日は雨が降って寒くなるでしょう。",
    "zh": "明天会下雨，天气很冷。",
    "ko": "내일은 비가 오고 추울 것입니다.",
    "ar": "غدا سوف تمطر وسيكون الجو باردا",
    "he": "מחר ירד גשם ויהיה קר",
    "vi": "Ngày mai trời sẽ mưa và khá lạnh.",
}


@pytest.fixture(scope="module")
def output() -> Path:
    return real_models.kept("iris", *MODELS)


def _context(output: Path, name: str) -> BuildContext:
    return BuildContext(manifest.read(ROOT / "models" / name / "model.yaml"), output)


def _preparer(output: Path, name: str) -> Preparer:
    return preparer(read_manifest(output / name / "1" / "model.yaml"))


def _answers(output: Path, name: str, rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    session = onnxruntime.InferenceSession(output / name / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    probabilities, labels = session.run(None, {"features": rows})
    return probabilities, labels


def test_another_process_builds_the_same_bytes(tmp_path: Path) -> None:
    assert real_models.differing_files(tmp_path, *MODELS) == []


@pytest.mark.parametrize("name", MODELS)
def test_built_manifest_is_complete_and_small(output: Path, name: str) -> None:
    file = output / name / "1" / "model.yaml"
    assert manifest.problems(manifest.read(file)) == []
    assert file.stat().st_size < 200_000


@pytest.mark.parametrize("name", MODELS)
def test_the_model_predicts_its_own_examples(output: Path, name: str) -> None:
    built = manifest.read(output / name / "1" / "model.yaml")
    rows = _preparer(output, name).prepare_many([it["item"] for it in built["examples"]])["features"]
    labels = [built["labels"][index] for index in _answers(output, name, rows)[1]]
    assert labels == [it["answer"] for it in built["examples"]]
    for row, example in zip(rows, built["examples"], strict=True):
        assert np.abs(row - example.get("features", row)).max() <= EXACT


def test_measurements_are_standardised_as_in_training(output: Path) -> None:
    dataset, measurements, scaler = iris_standardised.data()
    flowers = [dict(zip(_columns(), row, strict=True)) for row in measurements.tolist()]
    rows = _preparer(output, "iris_standardised").prepare_many(flowers)["features"]
    assert np.abs(rows - scaler.transform(measurements)).max() <= EXACT
    assert np.abs(rows - dataset.rows).max() <= EXACT


def _columns() -> list[str]:
    return [name.removesuffix(" (cm)").replace(" ", "_") for name in load_iris().feature_names]


def test_the_model_without_scaler_predicts_as_the_model_with_scaler(output: Path) -> None:
    dataset, measurements, _ = iris_standardised.data()
    ours, _ = _answers(output, "iris_standardised", dataset.rows)
    theirs, _ = _answers(output, "iris", measurements.astype(np.float32))
    assert np.abs(ours - theirs).max() <= 1e-4


def test_categories_and_missing_values_become_the_columns_of_training(output: Path) -> None:
    context = _context(output, "penguins")
    known, _, held_out = penguins.data(context)
    training = [it for it, held in zip(known, held_out, strict=True) if not held]
    fitted = penguins.Preprocessor.fitted(training, context.manifest)
    hidden = [it | {name: None} for it in known[:20] for name in it]
    ready = _preparer(output, "penguins")
    for some in (known, hidden):
        assert np.abs(ready.prepare_many(some)["features"] - fitted.rows(some)).max() <= EXACT


def test_a_penguin_without_any_value_gets_no_confident_prediction(output: Path) -> None:
    ready = _preparer(output, "penguins")
    probabilities, _ = _answers(output, "penguins", ready.prepare({})["features"])
    assert probabilities.max() < 0.9
    assert (ready.prepare({"island": "Elba"})["features"] == ready.prepare({})["features"]).all()


def test_tfidf_of_characters_is_the_same_as_in_training(output: Path) -> None:
    context = _context(output, "text_language")
    texts, _, held_out = text_language.data(context)
    terms = text_classifier.vectoriser(context.manifest).fit(texts[~held_out])
    some = [*texts[held_out][::7], "", "Ǆ ﬁ ½ ΣΑΣ", "\t a\n b ", "x" * 5000, "ab " * 1000, "☃☃☃☃☃☃"]
    ready = _preparer(output, "text_language")
    rows = np.concatenate([ready.prepare(text)["features"] for text in some if text])
    expected = terms.transform([text for text in some if text]).toarray()
    assert np.abs(rows - expected).max() <= EXACT


def test_tfidf_of_morphemes_is_the_same_as_in_training(output: Path) -> None:
    context = _context(output, "message_topic_ja")
    texts, _, held_out = message_topic_ja.data(context)
    terms = text_classifier.vectoriser(context.manifest, message_topic_ja.analyser()).fit(texts[~held_out])
    some = [*texts, "ﾊﾟｽﾜｰﾄﾞ と ｕｒｌ", "\u3000一\n二 ", "パスワード" * 1000, "☃☃☃"]
    rows = _preparer(output, "message_topic_ja").prepare_many(some)["features"]
    assert np.abs(rows - terms.transform(some).toarray()).max() <= EXACT


def test_an_analyser_is_thread_safe(output: Path) -> None:
    texts, _, _ = message_topic_ja.data(_context(output, "message_topic_ja"))
    ready = _preparer(output, "message_topic_ja")
    with ThreadPoolExecutor(8) as threads:
        rows = list(threads.map(lambda text: ready.prepare(text)["features"], texts))
    assert (np.concatenate(rows) == ready.prepare_many(list(texts))["features"]).all()


def test_text_that_the_analyser_refuses_is_preprocessed_without_error(output: Path) -> None:
    """Text longer than the analyser takes (each of these characters normalises to 18), and a lone surrogate."""
    ready = _preparer(output, "message_topic_ja")
    assert not ready.prepare("\ufdfa" * 2000)["features"].any()
    half, unknown = ready.prepare("パスワード\ud800")["features"], ready.prepare("パスワード?")["features"]
    assert (half == unknown).all()


def test_topics_are_predicted_better_than_by_the_most_frequent_one(output: Path) -> None:
    _, topics, held_out = message_topic_ja.data(_context(output, "message_topic_ja"))
    built = manifest.read(output / "message_topic_ja" / "1" / "model.yaml")
    commonest = np.bincount(topics[held_out]).max() / held_out.sum()
    assert built["metrics"]["rows"] == held_out.sum()
    assert built["metrics"]["accuracy"] > commonest + 0.3


def test_the_headers_of_a_catalogue_are_not_messages(output: Path) -> None:
    (idf,) = [
        step["tfidf"]["idf"]
        for step in manifest.read(output / "message_topic_ja" / "1" / "model.yaml")["preprocessing"]["steps"]
        if "tfidf" in step
    ]
    assert not {"charset", "Project", "translator"} & idf.keys()


def test_held_out_messages_are_held_out_in_every_language(output: Path) -> None:
    texts, languages, held_out = text_language.data(_context(output, "text_language"))
    assert 0.2 < held_out.mean() < 0.3
    assert set(languages[held_out]) == set(range(28))
    assert len(texts) == len(languages)


def test_languages_of_everyday_sentences_are_recognised(output: Path) -> None:
    rows = _preparer(output, "text_language").prepare_many(list(EVERYDAY.values()))["features"]
    labels = manifest.read(output / "text_language" / "1" / "model.yaml")["labels"]
    found = [labels[index] for index in _answers(output, "text_language", rows)[1]]
    wrong = [(true, predicted) for true, predicted in zip(EVERYDAY, found, strict=True) if true != predicted]
    assert len(wrong) <= 1, wrong


def test_an_example_that_is_not_in_the_data_is_refused(output: Path) -> None:
    context = _context(output, "penguins")
    context.manifest["examples"][0]["item"]["sex"] = "female"
    with pytest.raises(BuildError, match="is not in the data set; correct it"):
        penguins.build(context)


def test_catalogues_of_another_release_are_refused(output: Path) -> None:
    with pytest.raises(BuildError, match="expected 00; they are not used"):
        gettext_catalogues.messages(output / ".wheels", ["fr"], "00")


def test_a_message_is_read_in_full_without_placeholders() -> None:
    catalogue = """
#, python-format
msgid ""
"Please enter the %(name)s "
"and password."
msgstr ""
"Saisissez le %(name)s "
"et le mot de passe."

#, fuzzy
msgid "A doubtful message, too long"
msgstr "Un message douteux"

#~ msgid "An outdated message, too long"
#~ msgstr "Un message ancien"

msgid "Ensure this has %d character."
msgid_plural "Ensure this has %d characters."
msgstr[0] "Assurez-vous de %d caractère."
msgstr[1] "Assurez-vous de %d caractères."

msgid "Short"
msgstr "Court"
"""
    assert list(gettext_catalogues._translated(catalogue)) == [
        ("Please enter the and password.", "Saisissez le et le mot de passe."),
        ("Ensure this has character.", "Assurez-vous de caractères."),
        ("Short", "Court"),
    ]


def test_files_of_a_wheel_with_another_combined_hash_are_refused(output: Path) -> None:
    with pytest.raises(BuildError, match="have sha256"):
        pinned_wheels.read_files(output / ".wheels", "palmerpenguins", r"palmerpenguins/data/.*\.csv", "00")
