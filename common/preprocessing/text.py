"""Turns a text into a row of TF-IDF weights of the n-grams of its characters, words or morphemes.

    clean: {form: NFKC, lowercase: true, longest: 2000}     Unicode form, case, single spaces, one space at either end;
                                                            only the first `longest` characters are used
    ngrams: {of: characters, shortest: 1, longest: 3}       or words, or morphemes with an `analyser`
    tfidf: {sublinear: true, idf: {" th": 1.9, ...}}        the known n-grams with their inverse document frequencies,
                                                            in the order of the columns; rows have length 1

The weights are those of scikit-learn's TfidfVectorizer. A text without any known n-gram becomes a row of zeros.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from common.errors import InvalidInput
from common.preprocessing.morphemes import ANALYSERS
from common.protocol.choices import convert
from common.protocol.tensors import Array

FIELD = "text"
WORD = re.compile(r"\w+")

Positive = Annotated[int, msgspec.Meta(ge=1)]


class Clean(msgspec.Struct, forbid_unknown_fields=True):
    form: Literal["NFC", "NFKC", "NFD", "NFKD"]
    lowercase: bool
    longest: Positive


class Ngrams(msgspec.Struct, forbid_unknown_fields=True):
    """Sequences of `shortest` to `longest` units; words and morphemes are joined by a space.

    `analyser` is a name in `common/preprocessing/morphemes.py`, for morphemes only.
    """

    of: Literal["characters", "words", "morphemes"]
    shortest: Positive
    longest: Positive
    analyser: str = ""


class Tfidf(msgspec.Struct, forbid_unknown_fields=True):
    """`sublinear`: the weight of a term uses 1 + ln(count) in place of the count."""

    sublinear: bool
    idf: dict[str, float]


def clean(parameter: Any) -> Callable[[Any], str]:
    rule = convert(parameter, Clean)

    def cleaned(text: Any) -> str:
        if not isinstance(text, str):
            raise InvalidInput.at(FIELD, f"expected a string, got {type(text).__name__}")
        text = unicodedata.normalize(rule.form, text[: rule.longest])
        words = (text.lower() if rule.lowercase else text).split()
        if not words:
            raise InvalidInput.at(FIELD, "is empty")
        return f" {' '.join(words)} "

    return cleaned


def ngrams(parameter: Any) -> Callable[[str], Iterable[str]]:
    """Turns a text into its n-grams, with repetitions."""
    rule = convert(parameter, Ngrams)
    sizes = range(rule.shortest, rule.longest + 1)
    if not sizes:
        raise ValueError(f"expected shortest to be at most longest, got {rule.shortest} and {rule.longest}")
    if (rule.of == "morphemes") != (rule.analyser in ANALYSERS):
        raise ValueError(
            f"expected an analyser ({', '.join(ANALYSERS)}) for morphemes and none otherwise, "
            f"got {rule.analyser!r} for {rule.of}"
        )
    if rule.of == "characters":
        return lambda text: [text[at : at + size] for size in sizes for at in range(len(text) - size + 1)]
    units: Callable[[str], list[str]] = WORD.findall if rule.of == "words" else ANALYSERS[rule.analyser]()

    def joined(text: str) -> list[str]:
        found = units(text)
        return [" ".join(found[at : at + size]) for size in sizes for at in range(len(found) - size + 1)]

    return joined


def tfidf(parameter: Any) -> Callable[[Iterable[str]], Array]:
    """Turns n-grams into FP32 [columns]."""
    rule = convert(parameter, Tfidf)
    columns = {term: (place, weight) for place, (term, weight) in enumerate(rule.idf.items())}
    sublinear = rule.sublinear

    def weighed(terms: Iterable[str]) -> Array:
        row = np.zeros(len(columns))
        for term, count in Counter(terms).items():
            known = columns.get(term)
            if known is not None:
                row[known[0]] = (1 + math.log(count) if sublinear else count) * known[1]
        length = math.sqrt(row @ row)
        return (row / length if length else row).astype(np.float32)

    return weighed


_STEPS: dict[str, Callable[[Any], Callable[[Any], Any]]] = {"clean": clean, "ngrams": ngrams, "tfidf": tfidf}


def compiled(steps: Sequence[tuple[str, Any]]) -> list[Callable[[Any], Any]]:
    """One function for each step. Raises ValueError, msgspec.ValidationError, or AnalyserMissing."""
    names = [name for name, _ in steps]
    if names != list(_STEPS):
        raise ValueError(f"expected the steps {', '.join(_STEPS)}, in this order, got {', '.join(names)}")
    return [_STEPS[name](parameter) for name, parameter in steps]
