"""Linear classifiers of short texts by TF-IDF, whose weights stand in model.yaml and not in the graph."""

import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from models import prepared, sklearn_onnx
from models.manifest import Manifest
from models.recipe import Product, Workspace

SAMPLES = 200
DIGITS = 4
HELD_OUT_BELOW = 64  # of the 256 values of a digest's first byte

Analyser = Callable[[str], list[str]]


class Texts(NamedTuple):
    """Texts, the index of each one's label, and which are held out."""

    texts: NDArray[Any]
    answers: NDArray[np.int64]
    held_out: NDArray[np.bool_]


def split(originals: Sequence[str], texts: Sequence[str], answers: Sequence[int]) -> Texts:
    """About a quarter of the originals is held out, each with all that was translated from it."""
    first = [hashlib.sha256(original.encode()).digest()[0] for original in originals]
    return Texts(np.array(texts, dtype=object), np.array(answers), np.array(first) < HELD_OUT_BELOW)


def vectoriser(manifest: Manifest, analyser: Analyser | None = None) -> Any:
    """scikit-learn's, set as the manifest's steps say; as many columns as the model's input has.

    N-grams are of characters, or of what the analyser finds.
    """
    clean, ngrams, tfidf = (
        next(step[name] for step in manifest["preprocessing"]["steps"] if name in step)
        for name in ("clean", "ngrams", "tfidf")
    )
    units = {"analyzer": "word", "tokenizer": analyser, "token_pattern": None} if analyser else {"analyzer": "char"}
    return TfidfVectorizer(
        preprocessor=_cleaner(clean),
        lowercase=False,
        ngram_range=(ngrams["shortest"], ngrams["longest"]),
        max_features=manifest["inputs"][0]["shape"][1],
        sublinear_tf=tfidf["sublinear"],
        **units,
    )


def _cleaner(rule: Manifest) -> Callable[[str], str]:
    def clean(text: str) -> str:
        return f" {' '.join(unicodedata.normalize(rule['form'], text[: rule['longest']]).lower().split())} "

    return clean


def classifier(workspace: Workspace, data: Texts, terms: Any) -> Product:
    """Trained on what is not held out; only the held-out rows become dense, and a part of them the samples."""
    texts, answers, held_out = data
    estimator = LogisticRegression(C=20, tol=1e-3, max_iter=1000)
    estimator.fit(terms.fit_transform(texts[~held_out]), answers[~held_out])
    estimator.coef_, estimator.intercept_ = estimator.coef_.round(DIGITS), estimator.intercept_.round(DIGITS)
    rows = terms.transform(texts[held_out]).toarray().astype(np.float32)
    table = sklearn_onnx.Table(rows, answers[held_out], np.ones(len(rows), dtype=np.bool_))
    product = sklearn_onnx.fitted_classifier(estimator, table, workspace.manifest)
    examples = prepared.real_examples(workspace.manifest, list(texts), answers)
    idf = dict(zip(terms.get_feature_names_out().tolist(), prepared.rounded(terms.idf_), strict=True))
    product = prepared.with_steps(product, workspace.manifest, {"tfidf": {"idf": idf}}, examples)
    return replace(product, samples=rows[:: max(1, len(rows) // SAMPLES)])
