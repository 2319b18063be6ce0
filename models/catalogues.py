"""Short texts in many languages: the translation catalogues (gettext .po) that the Django wheel carries."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from models import wheels

PACKAGE = "django"
FILES = r"django/(?:conf|contrib/\w+)/locale/(?:{locales})/LC_MESSAGES/django\.po"

# What programs put into a message, and quotation marks, say nothing about its language.
_HOLES = re.compile(
    r"%\(\w+\)[sd]|%[sd]|%%|\{\w*\}|<[^>]*>|&\w+;|https?://\S+|\w*\.\w+\.\w*|\w*_\w+|[\"“”«»„]",
)
_LINE = re.compile(r'(msg\w+(?:\[\d\])?) (".*")')


class Message(NamedTuple):
    """`part` is that of the framework which says it: conf, admin, auth, ...; the original is English."""

    locale: str
    part: str
    original: str
    text: str


def messages(folder: Path, locales: list[str], sha256: str) -> list[Message]:
    """Every message of these locales that is translated, once, without its holes.

    `sha256` is that of the catalogues of these locales (models/wheels.py:members).
    """
    pattern = FILES.format(locales="|".join(locales))
    found = set()
    for path, content in wheels.members(folder, PACKAGE, pattern, sha256).items():
        before, after = path.split("/locale/")
        locale, part = after.split("/")[0], before.split("/")[-1]
        found |= {Message(locale, part, *pair) for pair in _translated(content.decode())}
    return sorted(found)


def _translated(catalogue: str) -> Iterator[tuple[str, str]]:
    for entry in map(_entry, catalogue.split("\n\n")):
        original = _readable(entry.get("msgid", ""))
        text = _readable(entry.get("msgstr") or entry.get("msgstr[1]") or entry.get("msgstr[0]") or "")
        if text and text != original:
            yield original, text


def _entry(block: str) -> dict[str, str]:
    """The strings of one message by keyword, each perhaps on several lines; none of a doubtful or outdated one."""
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
    return " ".join(_HOLES.sub(" ", text).split())
