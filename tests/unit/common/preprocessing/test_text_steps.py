"""Texts to TF-IDF weights, which are scikit-learn's; what is no text is refused."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from common.errors import InvalidInput
from common.inference.manifest import ModelLoadError
from common.preprocessing import morphemes
from common.preprocessing.steps import Preparer, preparer
from tests.unit.common.preprocessing.manifests import manifest

CLEAN = {"clean": {"form": "NFKC", "lowercase": True, "longest": 200}}
TEXTS = ["the cat sat on the mat", "the dog ate the cat", "a dog and a cat: two friends"]


def ready(ngrams: dict[str, Any], idf: dict[str, float], sublinear: bool = False) -> Preparer:
    steps = [CLEAN, {"ngrams": ngrams}, {"tfidf": {"sublinear": sublinear, "idf": idf}}, {"cast": "FP32"}]
    return preparer(manifest(steps, [-1, len(idf)], "row"))


def like(fitted: Any, ngrams: dict[str, Any]) -> Preparer:
    idf = dict(zip(fitted.get_feature_names_out().tolist(), fitted.idf_.tolist(), strict=True))
    return ready(ngrams, idf, fitted.sublinear_tf)


@pytest.mark.parametrize("sublinear", [False, True])
@pytest.mark.parametrize(("of", "analyser"), [("characters", "char"), ("words", "word")])
def test_weights_are_those_of_scikit_learn(of: str, analyser: str, sublinear: bool) -> None:
    fitted = TfidfVectorizer(
        analyzer=analyser,
        **({"token_pattern": r"\w+"} if of == "words" else {}),
        ngram_range=(1, 2),
        sublinear_tf=sublinear,
        preprocessor=lambda text: f" {text} ",
    ).fit(TEXTS)
    texts = [*TEXTS, "cat cat cat", "the bird"]
    rows = like(fitted, {"of": of, "shortest": 1, "longest": 2}).prepare_many(texts)["row"]
    assert rows.dtype == np.float32
    assert np.abs(rows - fitted.transform(texts).toarray()).max() <= 1e-6


def test_case_form_and_spaces_make_no_difference() -> None:
    one = ready({"of": "words", "shortest": 1, "longest": 1}, {"cafe": 1.0, "fish": 2.0})
    assert (one.prepare("ﬁsh  CAFE\n")["row"] == one.prepare("fish cafe")["row"]).all()


def test_what_follows_the_longest_is_not_read() -> None:
    one = ready({"of": "words", "shortest": 1, "longest": 1}, {"a": 1.0, "b": 1.0})
    assert one.prepare("a " * 100 + "b")["row"].tolist() == [[1.0, 0.0]]


def test_a_text_of_which_nothing_is_known_is_zeros() -> None:
    assert ready({"of": "words", "shortest": 1, "longest": 1}, {"a": 1.0}).prepare("☃")["row"].tolist() == [[0.0]]


@pytest.mark.parametrize(("item", "reason"), [("", "is empty"), (" \n", "is empty"), (3, "expected a string, got int")])
def test_what_is_no_text_is_refused(item: Any, reason: str) -> None:
    one = ready({"of": "characters", "shortest": 1, "longest": 1}, {"a": 1.0})
    assert one.kind == "text"
    with pytest.raises(InvalidInput, match=rf"^text: {reason}"):
        one.prepare(item)


def test_half_a_surrogate_pair_is_a_text_like_another() -> None:
    one = ready({"of": "characters", "shortest": 1, "longest": 1}, {"a": 1.0})
    assert one.prepare("\ud800a")["row"].tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("ngrams", "reason"),
    [
        ({"of": "words", "shortest": 2, "longest": 1}, "expected shortest to be at most longest, got 2 and 1"),
        ({"of": "words", "shortest": 0, "longest": 1}, "Expected `int` >= 1"),
        (
            {"of": "letters", "shortest": 1, "longest": 1},
            "'letters', expected one of characters, morphemes, words",
        ),
        (
            {"of": "morphemes", "shortest": 1, "longest": 1},
            "expected an analyser .sudachi. for morphemes and none otherwise, got '' for morphemes",
        ),
        (
            {"of": "words", "shortest": 1, "longest": 1, "analyser": "sudachi"},
            "none otherwise, got .sudachi. for words",
        ),
    ],
)
def test_wrong_steps_are_found_at_load(ngrams: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelLoadError, match=reason):
        ready(ngrams, {"a": 1.0})


def test_the_steps_of_a_text_come_in_their_order() -> None:
    with pytest.raises(ModelLoadError, match="expected the steps clean, ngrams, tfidf, in this order, got clean"):
        preparer(manifest([CLEAN, {"cast": "FP32"}], [-1, 1], "row"))


def test_morphemes_are_what_the_analyser_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(morphemes.ANALYSERS, "by hand", lambda: lambda text: text.replace("を", " を ").split())
    ngrams = {"of": "morphemes", "shortest": 1, "longest": 2, "analyser": "by hand"}
    one = ready(ngrams, {"本": 1.0, "を 読む": 1.0, "を": 1.0, "水": 1.0})
    assert one.prepare("本を読む")["row"][0] == pytest.approx([3**-0.5, 3**-0.5, 3**-0.5, 0])


def test_a_missing_analyser_is_reported_when_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sudachipy", None)
    with pytest.raises(ModelLoadError, match=r"Japanese needs SudachiPy: pip install 'serving-patterns\[japanese\]'"):
        ready({"of": "morphemes", "shortest": 1, "longest": 1, "analyser": "sudachi"}, {"本": 1.0})
