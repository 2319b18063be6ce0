"""Every pattern's README has the same headings, names what is there, and is not longer than a reader's patience."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtimes import composefile
from runtimes.base import COMPOSE_DIRECTORY
from tools.settings_table import filled

ROOT = Path(__file__).parents[2]
PATTERNS = sorted(path for path in (ROOT / "patterns").iterdir() if (path / "__init__.py").exists())
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(path / "README.md" for path in PATTERNS)])
HEADINGS = [
    "Use it when",
    "Services",
    "Run it",
    "Read the code",
    "Variants and their settings",
    "When things fail",
    "Measured",
]
LONGEST = 110  # "at most about 100 lines"

every_pattern = pytest.mark.parametrize("pattern", PATTERNS, ids=lambda path: path.name)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())


def readme(pattern: Path) -> str:
    return (pattern / "README.md").read_text()


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


def section(text: str, heading: str) -> str:
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def variants(pattern: Path) -> list[str]:
    return composefile.variants(COMPOSE_DIRECTORY, pattern.name)


def services(pattern: Path) -> set[str]:
    """Of the pattern and all of its variants."""
    files = [composefile.load(COMPOSE_DIRECTORY, pattern.name, one, {}) for one in (None, *variants(pattern))]
    return {service for file in files for service in file.services}


@every_pattern
def test_it_says_in_a_sentence_what_it_is_and_then_draws_it(pattern: Path) -> None:
    title, _, rest = readme(pattern).partition("\n\n")
    assert title == f"# {pattern.name}"
    intent, _, drawing = rest.partition("\n\n")
    assert re.fullmatch(r"[A-Z][^#`]+\.", intent)
    assert drawing.startswith("```mermaid\n")


@every_pattern
def test_the_drawing_and_the_table_name_every_service(pattern: Path) -> None:
    (drawing,) = re.findall(r"^```mermaid\n(.*?)^```$", readme(pattern), re.M | re.S)
    table = section(readme(pattern), "Services")
    for service in services(pattern):
        assert re.search(rf"\b{re.escape(service)}\b", drawing)
        assert f"`{service}`" in table


@every_pattern
def test_the_headings_are_the_same_in_all(pattern: Path) -> None:
    assert re.findall(r"^## (.+)$", prose(pattern / "README.md"), re.M) == HEADINGS


@every_pattern
def test_no_section_is_empty_or_left_for_later(pattern: Path) -> None:
    for heading in HEADINGS:
        text = section(readme(pattern), heading).strip()
        assert len(text) > 40
        assert not re.search(r"^[A-Z]{4,}$", text, re.M)


@every_pattern
def test_it_is_short(pattern: Path) -> None:
    without_tables = re.sub(r"^<!-- settings:.*?^<!-- end of settings -->$", "", readme(pattern), flags=re.M | re.S)
    assert len(without_tables.splitlines()) <= LONGEST


@every_pattern
def test_it_names_every_variant(pattern: Path) -> None:
    for variant in variants(pattern):
        assert f"VARIANT={variant}" in section(readme(pattern), "Variants and their settings")


@every_pattern
def test_it_has_the_table_of_its_settings(pattern: Path) -> None:
    assert f"<!-- settings: patterns.{pattern.name}." in section(readme(pattern), "Variants and their settings")


@every_pattern
def test_every_failure_leads_to_the_drill_that_shows_it(pattern: Path) -> None:
    drills = {path.name for path in (ROOT / "tests" / "drills" / pattern.name).glob("test_*.py")}
    linked = set(re.findall(r"/tests/drills/\w+/(test_\w+\.py)", section(readme(pattern), "When things fail")))
    assert linked
    assert linked <= drills


@every_page
def test_the_tables_of_settings_are_those_of_the_code(page: Path) -> None:
    text = page.read_text()
    assert text == filled(text), "run `make docs`"


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", prose(page)):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@every_page
def test_targets_and_settings_of_commands_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    for line in re.findall(r"^\$ (.+)$|`(make [^`]+)`", page.read_text(), re.M):
        command = "".join(line)
        for found in re.findall(r"\bmake ((?:[A-Z]+=\S+ )*)([a-z]+)", command):
            assert found[1] in targets, command
