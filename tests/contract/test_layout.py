"""Small modules with one subject: their length, their docstrings, and names that only one class has."""

from __future__ import annotations

import ast
from collections import defaultdict
from statistics import median

from tests.contract.sources import PRODUCT, modules, rule, tracked

LONGEST_MODULE, LONGEST_FUNCTION, USUAL_FUNCTION = 300, 40, 12  # lines
ROOT_OF_COMMON = 6  # files, without the package's __init__.py
EVERYWHERE = (*PRODUCT, "bench", "tests", "tools")
OF_EVERY_ROLE = {"Settings"}  # `python -m common.serve ROLE` looks for a class of this name
Function = ast.FunctionDef | ast.AsyncFunctionDef


def length(node: Function) -> int:
    """Lines from `def` to the last one."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_modules_are_short() -> None:
    with rule("a module has one subject") as offenders:
        for source in modules(*EVERYWHERE):
            lines = len(source.text.splitlines())
            offenders.require(lines <= LONGEST_MODULE, source.name, f"{lines} lines", f"at most {LONGEST_MODULE}")


def test_functions_are_short() -> None:
    with rule("a function fits in a screen") as offenders:
        for source in modules(*EVERYWHERE):
            for node in source.nodes:
                if isinstance(node, Function) and length(node) > LONGEST_FUNCTION:
                    found = f"{node.name} with {length(node)} lines"
                    offenders.add(source.at(node), found, f"at most {LONGEST_FUNCTION}")


def test_the_usual_function_is_short() -> None:
    functions = [node for source in modules(*EVERYWHERE) for node in source.nodes if isinstance(node, Function)]
    assert median(length(node) for node in functions) <= USUAL_FUNCTION


def test_a_module_has_a_docstring() -> None:
    with rule("a module says what it is for") as offenders:
        for source in modules(*EVERYWHERE):
            if source.tree.body:
                offenders.require(bool(ast.get_docstring(source.tree)), source.name, "no docstring", "one at its top")


def test_the_root_of_common_holds_only_what_every_role_starts_from() -> None:
    with rule("what belongs to a subject stands in the folder of that subject") as offenders:
        at_root = [one.name for one in tracked() if one.name.startswith("common/") and one.name.count("/") == 1]
        files = [name for name in at_root if not name.endswith("/__init__.py")]
        offenders.require(len(files) <= ROOT_OF_COMMON, "common/", files, f"at most {ROOT_OF_COMMON} files")


def test_no_two_classes_share_a_name() -> None:
    places = defaultdict(list)
    for source in modules(*PRODUCT):
        for node in source.nodes:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(source.at(node))
    shared = {name: where for name, where in places.items() if len(where) > 1 and name not in OF_EVERY_ROLE}
    with rule("one name, one thing") as offenders:
        for name, where in shared.items():
            offenders.add(", ".join(where), f"classes {name}", "a name of its own for each")
