"""Morphological analysers, for languages that do not put spaces between words. Each is a library of its own, loaded
where a model asks for it; no image carries one unless its requirements name it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module

Analyser = Callable[[str], list[str]]


class AnalyserMissing(ValueError):
    """The library of an analyser is not installed; the text says how to get it."""


def sudachi() -> Analyser:
    """Japanese: dictionary forms by SudachiPy with its small dictionary, words cut long (mode C)."""
    try:
        library = import_module("sudachipy")
    except ImportError:
        raise AnalyserMissing(
            "Japanese needs SudachiPy: pip install 'serving-patterns[japanese]' (sudachipy, sudachidict-small)"
        ) from None
    dictionary, own = library.Dictionary(dict="small"), threading.local()

    def analyse(text: str) -> list[str]:
        # An analyser keeps state between calls, so each thread has its own; they share the dictionary.
        if not hasattr(own, "analyser"):
            own.analyser = dictionary.create(mode=library.SplitMode.C)
        words = own.analyser.tokenize(text)
        return [word.dictionary_form() for word in words if not word.dictionary_form().isspace()]

    return analyse


ANALYSERS: dict[str, Callable[[], Analyser]] = {"sudachi": sudachi}
