"""Morphological analysers, for languages that do not put spaces between words. Each is a library of its own, loaded
where a model asks for it; no image carries one unless its requirements name it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module

Analyser = Callable[[str], list[str]]

PIECE = 12_000  # characters at once: SudachiPy takes 49,149 bytes, and a character has four at most


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
            own.analyser = dictionary.tokenizer(mode=library.SplitMode.C)
        whole = text.encode(errors="replace").decode()  # it knows no half of a surrogate pair
        pieces = (whole[at : at + PIECE] for at in range(0, len(whole), PIECE))
        forms = (word.dictionary_form() for piece in pieces for word in own.analyser.tokenize(piece))
        return [form for form in forms if not form.isspace()]

    return analyse


ANALYSERS: dict[str, Callable[[], Analyser]] = {"sudachi": sudachi}
