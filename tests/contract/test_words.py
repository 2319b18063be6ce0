"""Plain words: what was rewritten once does not come back."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.contract.sources import named, rule
from tests.contract.words import FORMER_NAMES, PROSE

READ = (".py", ".md", ".yaml", ".yml", ".js", ".html", ".css", ".toml", "Makefile", "Dockerfile")
# The list, its test, and what tells of former releases.
NOT_READ = ("tests/contract/words.py", "tests/contract/test_words.py", "CHANGELOG.md")


def any_of(words: Mapping[str, str], flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words)})\b", flags)


def instead(found: str) -> str:
    """The standard term for a word that was found."""
    return next(term for word, term in (PROSE | FORMER_NAMES).items() if re.fullmatch(word, found, re.IGNORECASE))


def test_plain_words_are_used() -> None:
    patterns = [any_of(PROSE, re.IGNORECASE), any_of(FORMER_NAMES)]
    with rule("plain words and the field's terms (tests/contract/words.py)") as offenders:
        for source in (one for one in named(*READ) if one.name not in NOT_READ):
            for where, found in (match for pattern in patterns for match in source.find(pattern)):
                offenders.add(where, repr(found), instead(found))


def test_a_word_is_found_in_any_case_and_only_whole() -> None:
    assert any_of(PROSE, re.IGNORECASE).findall("Newcomers wait; Lester turns you away.") == [
        "Newcomers",
        "turns you away",
    ]
    assert instead("Newcomers") == PROSE["newcomers?"]
