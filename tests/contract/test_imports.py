"""The first three rules of the house, read out of the syntax tree: who imports what, and what importing does."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("common", "models", "patterns", "runtimes")
GENERATED = ("_pb2.py", "_pb2_grpc.py")
# rule 3: who may import what only few may
RESERVED = {
    "onnxruntime": ("common/inference/", "models/", "tests/unit/models/"),
    "sqlalchemy": ("common/database.py", "patterns/batch/"),
    "redis": ("common/jobs/redis_streams.py", "patterns/parallel/feature_store.py"),
    "aio_pika": ("common/jobs/rabbitmq.py",),
    "aiokafka": ("common/jobs/kafka.py",),
    "tritonclient": ("tests/clients/",),
}


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if not path.name.endswith(GENERATED))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), name(path))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name(path)}: a relative import"
            assert node.module
            yield from (f"{node.module}.{one.name}" for one in node.names)


def forbidden(path: Path) -> tuple[str, ...]:
    """The packages of this project that a file must not import."""
    folders = path.relative_to(ROOT).parts
    if folders[0] == "common":
        return ("patterns", "runtimes", "models", "tests", "bench")
    if folders[0] == "models":
        return ("common", "patterns", "runtimes", "tests", "bench")
    if folders[0] == "runtimes":
        return ("common", "patterns", "models", "tests", "bench")
    others = [one.name for one in (ROOT / "patterns").iterdir() if one.is_dir() and one.name != folders[1]]
    return ("runtimes", "models", "tests", "bench", *(f"patterns.{other}" for other in others))


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=name)
def test_a_module_imports_only_what_its_package_may(path: Path) -> None:
    wrong = [
        module for module in imported(path) if any((module + ".").startswith(one + ".") for one in forbidden(path))
    ]
    assert not wrong


@pytest.mark.parametrize("library", RESERVED)
def test_a_library_is_imported_where_it_belongs_alone(library: str) -> None:
    users = [
        name(path) for path in sources(*PACKAGES, "tests") if library in {one.split(".")[0] for one in imported(path)}
    ]
    assert not [user for user in users if not user.startswith(RESERVED[library])]


def effects(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements at a module's top that do something rather than define it; a class of its own may be completed."""
    own = {node.name for node in body if isinstance(node, ast.ClassDef)}
    for node in body:
        if isinstance(node, ast.Expr) and ast.unparse(node).partition(".")[0] in own:
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("__name__ == '__main__'", "TYPE_CHECKING"):
            continue
        if isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Try):
            yield node
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
            yield node


OPENERS = {
    "open",
    "connect",
    "create_app",
    "getenv",
    "FastAPI",
    "Client",
    "AsyncClient",
    "create_engine",
    "InferenceSession",
}


def opened(module: ast.Module) -> Iterator[str]:
    """Calls at a module's top that read the environment, or open a file, a client, a session or an application."""
    for node in module.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for call in ast.walk(node.value):
            if isinstance(call, ast.Lambda):
                break
            called = call.func if isinstance(call, ast.Call) else None
            last = (
                called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
            )
            if last in OPENERS or last.endswith("Settings") or getattr(call, "attr", "") == "environ":
                yield ast.unparse(node)


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=name)
def test_importing_a_module_does_nothing(path: Path) -> None:
    if path.name == "__main__.py":
        return
    module = tree(path)
    assert not [ast.unparse(node) for node in effects(module.body)]
    assert not list(opened(module))


def test_importing_every_module_starts_no_thread_and_prints_nothing() -> None:
    modules = [name(path)[:-3].replace("/", ".").removesuffix(".__init__") for path in sources("common", "patterns")]
    script = f"import importlib, threading\nfor one in {modules!r}: importlib.import_module(one)\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script + "assert threading.active_count() == 1, threading.enumerate()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("path", sources("patterns"), ids=name)
def test_a_role_offers_settings_and_an_application(path: Path) -> None:
    """`python -m common.serve <module>` needs both; a module that has one of them is a role and has the other."""
    offered = {
        one.asname or one.name for node in tree(path).body if isinstance(node, ast.ImportFrom) for one in node.names
    } | {node.name for node in tree(path).body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    if "create_app" in offered:
        assert "Settings" in offered
