"""Reads a pattern's compose files as `docker compose` does, as far as the local runtime needs it.

It supports merging files, `extends: {file, service}`, `!reset` and `!override`, `${VAR}` with `:-`, `-`, `:?`, `?`,
`:+`, `+`, and empty environment values, which take the value of the caller's variable.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runtimes.errors import StackError, UnknownName

Tree = dict[str, Any]
_WORD = r"(?:[^${}]|\$(?!\{)|\$\{[^}]*\})*"  # may hold one nested level of ${...}
_VARIABLE = re.compile(
    rf"\$(?:\$|(?P<plain>[A-Za-z_]\w*)|\{{(?P<name>[A-Za-z_]\w*)(?:(?P<op>:?[-?+])(?P<word>{_WORD}))?\}})"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_REPLACED = {"command", "entrypoint", "test"}
_MAPPINGS = {"environment", "labels", "args", "depends_on"}


@dataclass(frozen=True)
class Port:
    """A published port: `host` on the address `ip` of this machine is forwarded to `container`. 0 is any free port."""

    host: int
    container: int
    ip: str = "127.0.0.1"


@dataclass(frozen=True)
class ComposeService:
    """A service of the compose files, merged and interpolated. `local` is its `x-local` section.

    `target` and `args` are those of its build, except the argument MODELS, which is `models`.
    """

    name: str
    image: str
    built: bool
    target: str
    args: dict[str, str]
    entrypoint: list[str]
    command: list[str]
    environment: dict[str, str]
    depends_on: dict[str, str]
    ports: list[Port]
    replicas: int
    models: list[str]
    volumes: list[str]
    grace_seconds: float
    local: Tree


@dataclass(frozen=True)
class ComposeFile:
    """The compose files of a pattern and variant. `services` are in start order; `variables` are those they use."""

    directory: Path
    paths: list[Path]
    services: dict[str, ComposeService]
    variables: set[str]

    @property
    def built_images(self) -> list[str]:
        """The names of the images that are built here, not pulled."""
        return sorted({service.image for service in self.services.values() if service.built})

    @property
    def entry(self) -> ComposeService:
        """The service that publishes ports. Raises StackError if there is none."""
        for service in self.services.values():
            if service.ports:
                return service
        raise StackError(f"{self.paths[-1].name}: no service publishes a port, expected `ports:` in one of them")


class _Reset:
    """The value `!reset`: removes the value of an earlier file."""


class _Override:
    """The value `!override`: replaces the value of an earlier file instead of merging with it."""

    def __init__(self, value: object) -> None:
        self.value = value


class _Loader(yaml.CSafeLoader):  # seven times as fast as yaml.SafeLoader
    pass


def _construct(loader: Any, node: yaml.Node) -> object:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_object(node)


_Loader.add_constructor("!reset", lambda loader, node: _Reset())
_Loader.add_constructor("!override", lambda loader, node: _Override(_construct(loader, node)))


def patterns(directory: Path) -> list[str]:
    """The patterns that have a compose file in `directory`."""
    return sorted(path.stem for path in directory.glob("*.yaml") if "." not in path.stem and path.stem != "base")


def variants(directory: Path, pattern: str) -> list[str]:
    """The variants of `pattern`: files named `<pattern>.<variant>.yaml`."""
    return sorted(path.stem.removeprefix(f"{pattern}.") for path in directory.glob(f"{pattern}.*.yaml"))


def find(directory: Path, pattern: str, variant: str | None) -> list[Path]:
    """The files of a pattern and variant, in merge order. Raises UnknownName."""
    if pattern not in patterns(directory):
        raise UnknownName("pattern", pattern, patterns(directory))
    if variant and variant not in variants(directory, pattern):
        raise UnknownName(f"variant of {pattern}", variant, variants(directory, pattern))
    return [directory / f"{stem}.yaml" for stem in [pattern, *([f"{pattern}.{variant}"] if variant else [])]]


def load(directory: Path, pattern: str, variant: str | None, variables: Mapping[str, str]) -> ComposeFile:
    """Read, merge and interpolate the files of a pattern with `variables`. Raises StackError."""
    paths = find(directory, pattern, variant)
    interpolate = _Interpolation(variables)
    merged = interpolate(merge(paths))
    services = {name: _service(name, tree, interpolate) for name, tree in merged["services"].items()}
    return ComposeFile(directory, paths, _in_start_order(services), interpolate.seen)


def merge(paths: list[Path]) -> Tree:
    """Merge the files into one tree. `extends` is resolved; variables are not interpolated."""
    merged: Tree = {}
    for path in paths:
        merged = _merge(merged, _read(path))
    return merged


def _read(path: Path) -> Tree:
    """Read one file and resolve `extends`."""
    tree: Tree = yaml.load(path.read_text(), Loader=_Loader) or {}
    tree["services"] = {name: _resolve_extends(path, service) for name, service in tree.get("services", {}).items()}
    return tree


def _resolve_extends(path: Path, service: Tree) -> Tree:
    extends = service.get("extends") if isinstance(service, dict) else None  # a service may be `!reset null`
    if not extends:
        return service
    base = _read(path.parent / extends["file"])["services"][extends["service"]]
    return _merge(base, {key: value for key, value in service.items() if key != "extends"})


def _merge(base: Tree, over: Tree) -> Tree:
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, _Reset):
            merged.pop(key, None)
        elif isinstance(value, _Override):
            merged[key] = value.value
        else:
            merged[key] = _merged_value(key, merged.get(key), value)
    return merged


def _merged_value(key: str, base: object, over: object) -> object:
    if key in _MAPPINGS:
        base, over = _to_mapping(base), _to_mapping(over)
    if isinstance(over, dict):
        return _merge(base if isinstance(base, dict) else {}, over)
    if isinstance(base, list) and isinstance(over, list) and key not in _REPLACED:
        return base + [item for item in over if item not in base]
    return over


def _to_mapping(value: object) -> Tree:
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    assert isinstance(value, list)
    pairs = [str(item).partition("=") for item in value]
    return {name: word if equals else None for name, equals, word in pairs}


class _Interpolation:
    """Replaces `${...}` in every string of a tree, and records the names of the variables in `seen`."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.seen: set[str] = set()

    def __call__(self, tree: Any) -> Any:
        if isinstance(tree, dict):
            return {key: self(value) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self(item) for item in tree]
        return _VARIABLE.sub(self._value, tree) if isinstance(tree, str) else tree

    def get(self, name: str) -> str | None:
        self.seen.add(name)
        return self._variables.get(name)

    def _value(self, match: re.Match[str]) -> str:
        name = match["plain"] or match["name"]
        if name is None:
            return "$"
        value, operator = self.get(name), match["op"] or ""
        word: str = self(match["word"] or "")
        absent = value is None or (operator.startswith(":") and value == "")
        if operator.endswith("+"):
            return "" if absent else word
        if not absent:
            return value or ""
        if operator.endswith("?"):
            raise StackError(f"the variable {name} is not set, but the compose file requires it: {word}")
        return word


def _service(name: str, tree: Tree, interpolate: _Interpolation) -> ComposeService:
    environment = _to_mapping(tree.get("environment"))
    resolved = {key: interpolate.get(key) if value is None else str(value) for key, value in environment.items()}
    depends_on = _to_mapping(tree.get("depends_on"))
    build = tree.get("build", {})
    args = _to_mapping(build.get("args"))
    return ComposeService(
        name=name,
        image=tree.get("image", ""),
        built=bool(build),
        target=build.get("target", ""),
        args={key: str(value) for key, value in args.items() if value is not None and key != "MODELS"},
        entrypoint=_words(tree.get("entrypoint")),
        command=_words(tree.get("command")),
        environment={key: value for key, value in resolved.items() if value is not None},
        depends_on={other: (how or {}).get("condition", "service_started") for other, how in depends_on.items()},
        ports=[_port(str(spec)) for spec in tree.get("ports", [])],
        replicas=int(tree.get("deploy", {}).get("replicas", 1)),
        models=[model for model in re.split(r"[,\s]+", str(args.get("MODELS") or "")) if model],
        volumes=[str(volume) for volume in tree.get("volumes", [])],
        grace_seconds=seconds(str(tree.get("stop_grace_period", "10s"))),
        local=tree.get("x-local", {}),
    )


def _words(value: list[object] | str | None) -> list[str]:
    return value.split() if isinstance(value, str) else [str(word) for word in value or []]


def _port(spec: str) -> Port:
    ip, host, container = spec.rsplit(":", 2)
    return Port(int(host or 0), int(container), ip.strip("[]"))


def seconds(duration: str) -> float:
    """Seconds of a compose duration such as `1m30s`."""
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(duration))


def _in_start_order(services: dict[str, ComposeService]) -> dict[str, ComposeService]:
    ordered: dict[str, ComposeService] = {}

    def add(name: str, below: tuple[str, ...]) -> None:
        if name in below:
            raise StackError(f"depends_on has a cycle: {' -> '.join([*below, name])}; remove one of these dependencies")
        if name not in services:
            raise UnknownName("service in depends_on", name, list(services))
        for other in services[name].depends_on:
            add(other, (*below, name))
        ordered[name] = services[name]

    for name in services:
        add(name, ())
    return ordered
