"""What the schemas of a Kubernetes version find wrong in an object, unknown fields included."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

VERSIONS = ("1.32", "1.33", "1.34")
# Their schemas come with the operators that they belong to, not with Kubernetes.
OF_OPERATORS = {"ServiceMonitor", "ScaledObject", "TriggerAuthentication"}
Tree = dict[str, Any]


def faults(objects: list[Tree], version: str) -> list[str]:
    """A line for each object that the version's strict schemas refuse."""
    found = [_fault(json.dumps(tree, sort_keys=True), version) for tree in objects if tree["kind"] not in OF_OPERATORS]
    return [fault for fault in found if fault]


@cache
def _fault(text: str, version: str) -> str:
    """What is wrong with one object, which many patterns may have; empty when nothing is."""
    tree = json.loads(text)
    error = next(iter(_validator(tree["kind"], tree["apiVersion"], version).iter_errors(tree)), None)
    if error is None:
        return ""
    return f"{tree['kind']} {tree['metadata']['name']}: {'.'.join(map(str, error.path))}: {error.message}"


@cache
def _validator(kind: str, api_version: str, version: str) -> jsonschema.Draft202012Validator:
    """Made once for a kind: `kubernetes_validate.validate` parses the megabytes of definitions for every object."""
    group, _, number = api_version.rpartition("/")
    name = "-".join([kind.lower(), *([group.partition(".")[0]] if group else []), number])
    schema = schema_contents(f"{_folder(version)}/{name}.json", version)
    return jsonschema.Draft202012Validator(schema, registry=_definitions(version))


@cache
def _definitions(version: str) -> Registry[Any]:
    resource: Resource[Any] = Resource.from_contents(schema_contents(f"{_folder(version)}/_definitions.json", version))
    return resource @ Registry()


@cache
def _folder(version: str) -> str:
    return f"kubernetes-json-schema/v{version}.0-local-strict"
