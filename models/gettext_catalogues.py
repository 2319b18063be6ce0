"""Reads translated messages from the gettext catalogues (.po files) in the Django wheel."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from models import pinned_wheels

PACKAGE = "django"
FILES = r"django/(?:conf|contrib/\w+)/locale/(?:{locales})/LC_MESSAGES/django\.po"

# Placeholders, markup, URLs, identifiers and quotation marks tell nothing about the language of a message.
_PLACEHOLDERS = re.compile(
    r"%\(\w+\)[sd]|%[sd]|%%|\{\w*\}|<[^>]*>|&\w+;|https?://\S+|\w*\.\w+\.\w*|\w*_\w+|[\"“”«»„]",
)
_LINE = re.compile(r'(msg\w+(?:\[\d\])?) (".*")')


class Message(NamedTuple):
    """A translated message. `component` is the part of Django it is from (conf, admin, ...); `original` is English."""

    locale: str
    component: str
    original: str
    text: str


def messages(folder: Path, locales: list[str], sha256: str) -> list[Message]:
    """The translated messages of these locales, without duplicates and without placeholders, sorted.

    `sha256` is that of the catalogues of these locales, as pinned_wheels.read_files computes it. Raises BuildError if
    it is another one.
    """
    pattern = FILES.format(locales="|".join(locales))
    found = set()
    for path, content in pinned_wheels.read_files(folder, PACKAGE, pattern, sha256).items():
        before, after = path.split("/locale/")
        locale, component = after.split("/")[0], before.split("/")[-1]
        found |= {Message(locale, component, *pair) for pair in _translated(content.decode())}
    return sorted(found)


def _translated(catalogue: str) -> Iterator[tuple[str, str]]:
    for entry in map(_entry, catalogue.split("\n\n")):
        original = _readable(entry.get("msgid", ""))
        text = _readable(entry.get("msgstr") or entry.get("msgstr[1]") or entry.get("msgstr[0]") or "")
        if text and text != original:
            yield original, text


def _entry(block: str) -> dict[str, str]:
    """The strings of one .po entry by keyword (msgid, msgstr, ...). Empty for fuzzy and obsolete entries."""
    if "#~" in block or re.search("^#,.*fuzzy", block, re.MULTILINE):
        return {}
    entry: dict[str, str] = {}
    keyword = ""
    for line in block.splitlines():
        if starts := _LINE.fullmatch(line):
            keyword = starts[1]
            entry[keyword] = ast.literal_eval(starts[2])
        elif line.startswith('"') and keyword:
            entry[keyword] += ast.literal_eval(line)
    return entry


def _readable(text: str) -> str:
    return " ".join(_PLACEHOLDERS.sub(" ", text).split())
