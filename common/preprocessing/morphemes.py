"""Morphological analysers: they split text of languages that do not put spaces between words.

The library of an analyser is imported when a model needs it. An image contains it only if its requirements name it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module

Analyser = Callable[[str], list[str]]

MAX_CHUNK = 12_000  # characters in one call: SudachiPy accepts 49,149 bytes, and a character has at most four


class AnalyserMissing(ValueError):
    """The library of an analyser is not installed. The text says how to install it."""


def sudachi() -> Analyser:
    """Japanese: the dictionary forms that SudachiPy finds with its small dictionary and its longest words (mode C)."""
    try:
        library = import_module("sudachipy")
    except ImportError:
        raise AnalyserMissing(
            "Japanese needs SudachiPy: pip install 'serving-patterns[japanese]' (sudachipy, sudachidict-small)"
        ) from None
    dictionary, per_thread = library.Dictionary(dict="small"), threading.local()

    def analyse(text: str) -> list[str]:
        # an analyser keeps state between calls, so each thread has one; all share the dictionary
        if not hasattr(per_thread, "analyser"):
            per_thread.analyser = dictionary.tokenizer(mode=library.SplitMode.C)
        valid = text.encode(errors="replace").decode()  # SudachiPy fails on half of a surrogate pair
        chunks = (valid[at : at + MAX_CHUNK] for at in range(0, len(valid), MAX_CHUNK))
        forms = (word.dictionary_form() for chunk in chunks for word in per_thread.analyser.tokenize(chunk))
        return [form for form in forms if not form.isspace()]

    return analyse


ANALYSERS: dict[str, Callable[[], Analyser]] = {"sudachi": sudachi}
