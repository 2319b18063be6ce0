"""Linear classifiers of short texts by TF-IDF. The IDF weights are in model.yaml, not in the graph."""

import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from models import learned_steps, sklearn_onnx
from models.build_api import BuildContext, BuildResult
from models.manifest import Manifest

SAMPLES = 200
DIGITS = 4
HELD_OUT_BELOW = 64  # of the 256 values of a digest's first byte

Analyser = Callable[[str], list[str]]


class TextDataset(NamedTuple):
    """TextDataset, the label index of each, and which are held out for the test."""

    texts: NDArray[Any]
    answers: NDArray[np.int64]
    held_out: NDArray[np.bool_]


def split(originals: Sequence[str], texts: Sequence[str], answers: Sequence[int]) -> TextDataset:
    """Hold out about a quarter of the original messages, each together with all its translations."""
    first = [hashlib.sha256(original.encode()).digest()[0] for original in originals]
    return TextDataset(np.array(texts, dtype=object), np.array(answers), np.array(first) < HELD_OUT_BELOW)


def vectoriser(manifest: Manifest, analyser: Analyser | None = None) -> Any:
    """A scikit-learn TfidfVectorizer configured by the manifest's steps and the shape of the model's input.

    N-grams are of the analyser's tokens, or of characters if there is no analyser.
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


def classifier(context: BuildContext, data: TextDataset, terms: Any) -> BuildResult:
    """Train on the texts that are not held out. A part of the held-out rows becomes the samples of the result.

    Only held-out rows are made dense, to save memory.
    """
    texts, answers, held_out = data
    estimator = LogisticRegression(C=20, tol=1e-3, max_iter=1000)
    estimator.fit(terms.fit_transform(texts[~held_out]), answers[~held_out])
    estimator.coef_, estimator.intercept_ = estimator.coef_.round(DIGITS), estimator.intercept_.round(DIGITS)
    rows = terms.transform(texts[held_out]).toarray().astype(np.float32)
    dataset = sklearn_onnx.Dataset(rows, answers[held_out], np.ones(len(rows), dtype=np.bool_))
    result = sklearn_onnx.fitted_classifier(estimator, dataset, context.manifest)
    examples = learned_steps.verified_examples(context.manifest, list(texts), answers)
    idf = dict(zip(terms.get_feature_names_out().tolist(), learned_steps.rounded(terms.idf_), strict=True))
    result = learned_steps.with_learned_steps(result, context.manifest, {"tfidf": {"idf": idf}}, examples)
    return replace(result, samples=rows[:: max(1, len(rows) // SAMPLES)])
