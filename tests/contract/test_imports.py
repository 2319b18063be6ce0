"""What a module may import, that common/ has no import circle, and that importing has no effect."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from functools import cache

from tests.contract.sources import PRODUCT, ROOT, Source, modules, rule

# who alone may import a library
RESERVED = {
    "onnxruntime": ("common/inference/", "models/", "tests/unit/models/", "tests/models/", "bench/rivals/"),
    "sqlalchemy": ("common/database/", "patterns/batch/"),
    "redis": (
        "common/jobs/redis/",
        "common/jobs/brokers/redis_streams.py",
        "common/cache/",
        "patterns/parallel/feature_store.py",
        "tests/unit/common/jobs/",
        "tests/drills/",
    ),
    "aio_pika": ("common/jobs/brokers/rabbitmq.py",),
    "aiokafka": ("common/jobs/brokers/kafka.py",),
    "tritonclient": ("tests/clients/",),
}
# which of the project's own packages a package must not import; patterns are looked at one by one
NOT_IMPORTED_BY = {
    "common": {"patterns", "runtimes", "models", "tests", "bench", "tools"},
    "models": {"common", "patterns", "runtimes", "tests", "bench", "tools"},
    "runtimes": {"common", "patterns", "models", "tests", "bench", "tools"},
    "patterns": {"runtimes", "models", "tests", "bench", "tools"},
}
OPENS = {
    "open",
    "connect",
    "create_process",
    "getenv",
    "FastAPI",
    "Client",
    "AsyncClient",
    "create_engine",
    "InferenceSession",
}
# Circles that are about to be removed; each is deleted here together with the import that closes it.
KNOWN_CIRCLES: list[frozenset[str]] = []
ALLOWED_CONDITIONS = ("__name__ == '__main__'", "TYPE_CHECKING")


@cache
def imports(source: Source) -> list[tuple[str, str]]:
    """Every import in a file, at its top or not, as (`file:line`, dotted name); `.x` for a relative one."""
    found = []
    for node in source.nodes:
        if isinstance(node, ast.Import):
            found += [(source.at(node), one.name) for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (f"{node.module}." if node.module else "")
            found += [(source.at(node), prefix + one.name) for one in node.names]
    return found


def folder(source: Source, depth: int = 0) -> str:
    return source.name.split("/")[depth]


def test_imports_are_absolute() -> None:
    with rule("modules are imported by their full name") as offenders:
        for source in modules(*PRODUCT, "bench", "tests", "tools"):
            for where, module in imports(source):
                offenders.require(not module.startswith("."), where, f"import of {module}", "an absolute import")


def test_a_package_imports_only_what_it_may() -> None:
    with rule("patterns import common, common and models import neither patterns nor runtimes") as offenders:
        for source in modules(*PRODUCT):
            package = folder(source)
            for where, module in imports(source):
                forbidden = module.split(".")[0] in NOT_IMPORTED_BY[package]
                offenders.require(
                    not forbidden, where, f"import of {module}", f"no import of {sorted(NOT_IMPORTED_BY[package])}"
                )


def test_a_pattern_imports_no_other_pattern() -> None:
    with rule("a pattern stands alone: what three patterns need moves to common/") as offenders:
        for source in (one for one in modules("patterns") if one.name.count("/") > 1):
            own = f"patterns.{folder(source, 1)}."
            for where, module in imports(source):
                other = module.startswith("patterns.") and not f"{module}.".startswith(own)
                offenders.require(not other, where, f"import of {module}", f"only {own}*")


def test_a_library_is_imported_only_where_it_belongs() -> None:
    with rule("some libraries stand behind one module") as offenders:
        for source in modules(*PRODUCT, "bench", "tests", "tools"):
            for where, module in imports(source):
                allowed = RESERVED.get(module.split(".")[0], ("",))
                offenders.require(source.name.startswith(allowed), where, f"import of {module}", f"only in {allowed}")


# --- circles


def graph(package: str) -> dict[str, list[str]]:
    """Which modules of a package each of them imports, for types alone or to run."""
    known = {source.module: source for source in modules(package)}
    return {
        name: sorted({_module_of(imported, known) for _, imported in imports(source)} - {"", name})
        for name, source in known.items()
    }


def _module_of(imported: str, known: dict[str, Source]) -> str:
    """The module that `from a.b import c` takes c from: a.b.c where it is a module, else a.b; empty for others."""
    parent = imported.rpartition(".")[0]
    return imported if imported in known else parent if parent in known else ""


def shortest_circle(start: str, edges: dict[str, list[str]]) -> list[str]:
    """The modules on the shortest way from one back to itself, both ends included; empty without a way."""
    came_from: dict[str, str] = {}
    waiting = deque([start])
    while waiting:
        module = waiting.popleft()
        for following in edges[module]:
            if following == start:
                path = [start, module]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return path[::-1] if module != start else [start, start]
            if following not in came_from:
                came_from[following] = module
                waiting.append(following)
    return []


def circles(package: str) -> dict[frozenset[str], list[str]]:
    """Every shortest circle of imports in a package, by its members."""
    edges = graph(package)
    found = [shortest_circle(module, edges) for module in edges]
    return {frozenset(circle): circle for circle in found if circle}


def test_no_modules_of_common_import_each_other_in_a_circle() -> None:
    found = circles("common")
    with rule("common/ is layered: an import circle hides which module builds on which") as offenders:
        for members, circle in found.items():
            if members not in KNOWN_CIRCLES:
                offenders.add(circle[0].replace(".", "/") + ".py", " -> ".join(circle), "imports in one direction")
        for known in KNOWN_CIRCLES:
            offenders.require(known in found, "KNOWN_CIRCLES", f"{known}, which is gone", "its entry deleted")


def test_a_circle_is_found() -> None:
    edges = {"a": ["b"], "b": ["c"], "c": ["b", "d"], "d": []}
    assert [shortest_circle(one, edges) for one in edges] == [[], ["b", "c", "b"], ["c", "b", "c"], []]


# --- importing has no effect


def effects(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements at a module's top that do something; a class of the module may be completed there."""
    own = {node.name for node in body if isinstance(node, ast.ClassDef)}
    for node in body:
        if isinstance(node, ast.Expr) and ast.unparse(node).partition(".")[0] in own:
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in ALLOWED_CONDITIONS:
            continue
        statement = isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Try)
        if statement or (isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)):
            yield node


def opened(module: ast.Module) -> Iterator[ast.stmt]:
    """Assignments at a module's top that read the environment, or open a file, a client, a session or an app."""
    for node in module.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and any(_opens(node.value)):
            yield node


def _opens(value: ast.expr) -> Iterator[bool]:
    for one in ast.walk(value):
        if isinstance(one, ast.Lambda):
            return
        called = one.func if isinstance(one, ast.Call) else None
        last = getattr(called, "attr", "") or getattr(called, "id", "")
        yield last in OPENS or last.endswith("Settings") or getattr(one, "attr", "") == "environ"


def test_importing_a_module_does_nothing() -> None:
    with rule("importing has no effect; what a module needs comes in as an argument") as offenders:
        for source in (one for one in modules(*PRODUCT) if not one.name.endswith("__main__.py")):
            for node in [*effects(source.tree.body), *opened(source.tree)]:
                offenders.add(source.at(node), ast.unparse(node).splitlines()[0], "definitions only")


def test_importing_every_module_starts_no_thread_and_prints_nothing() -> None:
    names = [source.module for source in modules("common", "patterns")]
    script = f"import importlib, threading\nfor one in {names!r}: importlib.import_module(one)\n"
    script += "assert threading.active_count() == 1, threading.enumerate()"
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_role_offers_settings_and_an_application() -> None:
    with rule("`python -m common.serve MODULE` needs Settings beside create_process") as offenders:
        for source in modules("patterns", "common/roles"):
            offered = {alias.asname or alias.name for node in source.tree.body if isinstance(node, ast.ImportFrom)
                       for alias in node.names}  # fmt: skip
            offered |= {node.name for node in source.tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
            if "create_process" in offered:
                offenders.require("Settings" in offered, source.name, "create_process alone", "Settings as well")
