"""Every pattern's README has the same headings and names what exists; links, commands and generated tables hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from runtimes import composefile
from runtimes.base import COMPOSE_DIRECTORY
from tests.contract.sources import ROOT, Source, named, rule, source
from tools.settings_table import filled

HEADINGS = [
    "Use it when",
    "Services",
    "Run it",
    "Read the code",
    "Variants and their settings",
    "When things fail",
    "Measured",
]
LONGEST = 110  # lines: "at most about 100", without generated tables
SHORTEST_SECTION = 40  # characters
VARIANTS = "Variants and their settings"
CODE_BLOCK = re.compile(r"^```.*?^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
COMMAND = re.compile(r"^\$ (.+)$|`(make [^`]+)`", re.M)
OWN_MODULE = re.compile(r"^(?:\$ )?python3? -m (?:bench|common|models|patterns|runtimes|tests|tools)\b", re.M)
MAKE = re.compile(r"\bmake (?:[A-Z_]+=\S+ )*([a-z][a-z-]*)([^`&|;#]*)")


@dataclass(frozen=True)
class Readme:
    """The README of a pattern, in parts."""

    pattern: str

    @property
    def page(self) -> Source:
        return source(f"patterns/{self.pattern}/README.md")

    @property
    def name(self) -> str:
        return self.page.name

    @property
    def headings(self) -> list[str]:
        return re.findall(r"^## (.+)$", CODE_BLOCK.sub("", self.page.text), re.M)

    def section(self, heading: str) -> str:
        return self.page.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]

    @property
    def variants(self) -> list[str]:
        return composefile.variants(COMPOSE_DIRECTORY, self.pattern)

    @cached_property
    def services(self) -> list[str]:
        """Of the pattern and all of its variants."""
        files = [composefile.load(COMPOSE_DIRECTORY, self.pattern, one, {}) for one in (None, *self.variants)]
        return sorted({service for file in files for service in file.services})


README = [Readme(path.parent.name) for path in sorted((ROOT / "patterns").glob("*/__init__.py"))]


def test_it_says_in_a_sentence_what_it_is_and_then_draws_it() -> None:
    with rule("a pattern's README begins with its name, one sentence and a diagram") as offenders:
        for readme in README:
            title, _, rest = readme.page.text.partition("\n\n")
            intent, _, drawing = rest.partition("\n\n")
            offenders.compare(f"{readme.name}:1", title, f"# {readme.pattern}")
            offenders.require(bool(re.fullmatch(r"[A-Z][^#`]+\.", intent)), f"{readme.name}:3", intent, "one sentence")
            first = drawing.partition("\n")[0]
            offenders.require(first == "```mermaid", f"{readme.name}: third paragraph", first, "a Mermaid diagram")


def test_the_drawing_and_the_table_name_every_service() -> None:
    with rule("the diagram and the table of services are complete") as offenders:
        for readme in README:
            drawing = "".join(re.findall(r"^```mermaid\n(.*?)^```$", readme.page.text, re.M | re.S)[:1])
            for service in readme.services:
                drawn = re.search(rf"\b{re.escape(service)}\b", drawing)
                offenders.require(bool(drawn), f"{readme.name}: diagram", f"no {service}", "every service")
                listed = f"`{service}`" in readme.section("Services")
                offenders.require(listed, f"{readme.name}: Services", f"no `{service}`", "every service")


def test_the_headings_are_the_same_in_all() -> None:
    with rule("every pattern's README has the same headings") as offenders:
        for readme in README:
            offenders.compare(readme.name, readme.headings, HEADINGS)


def test_no_section_is_empty_or_left_for_later() -> None:
    with rule("every section says something") as offenders:
        for readme in README:
            for heading in HEADINGS:
                text = readme.section(heading).strip()
                where = f"{readme.name}: {heading}"
                offenders.require(len(text) > SHORTEST_SECTION, where, f"{len(text)} characters", "some sentences")
                placeholder = re.search(r"^[A-Z]{4,}$", text, re.M)
                offenders.require(placeholder is None, where, placeholder and placeholder[0], "text or output")


def test_it_is_short() -> None:
    with rule("a README is read in five minutes") as offenders:
        for readme in README:
            tables = re.compile(r"^<!-- settings:.*?^<!-- end of settings -->$", re.M | re.S)
            lines = len(tables.sub("", readme.page.text).splitlines())
            offenders.require(lines <= LONGEST, readme.name, f"{lines} lines", f"at most {LONGEST}")


def test_it_names_every_variant_and_has_its_settings() -> None:
    with rule("a README says how each variant is started and which settings there are") as offenders:
        for readme in README:
            section, where = readme.section(VARIANTS), f"{readme.name}: {VARIANTS}"
            for variant in readme.variants:
                command = f"VARIANT={variant}"
                offenders.require(command in section, where, f"no {command}", "every variant's command")
            table = f"<!-- settings: patterns.{readme.pattern}."
            offenders.require(table in section, where, f"no {table}...", "the generated table of settings")


def test_every_failure_leads_to_the_drill_that_shows_it() -> None:
    with rule("what a README says of failures is shown by a drill") as offenders:
        for readme in README:
            failures = readme.section("When things fail")
            drills = re.findall(rf"/tests/drills/{readme.pattern}/test_\w+\.py", failures)
            where = f"{readme.name}: When things fail"
            offenders.require(bool(drills), where, "no link to a drill of its own", "links to tests/drills/")


# --- every page


def test_the_tables_of_settings_are_those_of_the_code() -> None:
    with rule("`make docs` writes the tables of settings") as offenders:
        for page in named(".md"):
            offenders.require(page.text == filled(page.text), page.name, "another table", "what `make docs` writes")


def test_links_to_files_lead_somewhere() -> None:
    with rule("a link leads to a file of the repository") as offenders:
        for page in named(".md"):
            code = [range(*block.span()) for block in CODE_BLOCK.finditer(page.text)]
            for link in LINK.finditer(page.text):
                if "://" not in link[1] and "mailto:" not in link[1] and not any(link.start() in one for one in code):
                    exists = (page.path.parent / link[1]).exists()
                    offenders.require(exists, page.line(link.start()), link[1], "an existing file or folder")


def test_our_modules_are_run_with_the_python_that_has_what_they_need() -> None:
    with rule("a command in a page can be typed as it stands") as offenders:
        for page in named(".md"):
            for block in CODE_BLOCK.finditer(page.text):
                for found in OWN_MODULE.finditer(block[0]):
                    where = page.line(block.start() + found.start())
                    offenders.require(False, where, found[0], ".venv/bin/python -m ...")


def test_targets_of_make_and_their_variables_exist() -> None:
    makefile = source("Makefile").text
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.M))
    variables = set(re.findall(r"\$\((?:or |if |filter auto,|origin )?([A-Z]+)\b", makefile))
    with rule("a command in a page can be typed as it stands") as offenders:
        for page in named(".md"):
            for command in COMMAND.finditer(page.text):
                for found in MAKE.finditer(command[1] or command[2]):
                    where = page.line(command.start())
                    offenders.require(found[1] in targets, where, f"make {found[1]}", f"one of {sorted(targets)}")
                    for name in re.findall(r"\b([A-Z_]+)=", found[0]):
                        offenders.require(name in variables, where, f"{name}=...", f"one of {sorted(variables)}")
