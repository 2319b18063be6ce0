"""Names the allowed values where msgspec says only that a value is not one of them."""

from __future__ import annotations

import re
from typing import Any, TypeVar, overload

import msgspec
from msgspec import inspect

Value = TypeVar("Value")
_WRONG, _AT = "Invalid enum value", " - at `$"
_STEP = re.compile(r"\.([^.\[\]`]+)|(\[)")


@overload
def convert(value: object, kind: type[Value]) -> Value: ...
@overload
def convert(value: object, kind: Any) -> Any: ...
def convert(value: object, kind: Any) -> Any:
    """A value of this type, as `msgspec.convert` makes it. Raises msgspec.ValidationError that names allowed values."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(explained(str(error), kind)) from None


def explained(text: str, kind: Any) -> str:
    """The text of a ValidationError for this type; with the allowed values, if it is about a value that is not one."""
    if not text.startswith(_WRONG):
        return text
    reason, at, path = text.rpartition(_AT) if _AT in text else (text, "", "")
    allowed = _allowed(inspect.type_info(kind), path)
    return f"{reason}, expected one of {', '.join(map(str, allowed))}{at}{path}" if allowed else text


def _allowed(kind: inspect.Type, path: str) -> list[Any]:
    """The allowed values of the field at `path`, such as `.inputs[0].datatype`; none if it is no enumeration."""
    kinds = [kind]
    for field, _ in _STEP.findall(path):
        kinds = [inner for one in kinds for outer in _alternatives(one) for inner in _inner(outer, field)]
    found: list[Any] = []
    for one in (one for kind in kinds for one in _alternatives(kind)):
        if isinstance(one, inspect.LiteralType):
            found += one.values
        elif isinstance(one, inspect.EnumType):
            found += [member.value for member in one.cls]
    return found


def _alternatives(kind: inspect.Type) -> list[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        return _alternatives(kind.type)
    return list(kind.types) if isinstance(kind, inspect.UnionType) else [kind]


def _inner(kind: inspect.Type, field: str) -> list[inspect.Type]:
    """The types of a field, or of the elements if `field` is empty."""
    if isinstance(kind, inspect.StructType):
        return [one.type for one in kind.fields if one.encode_name == field]
    if isinstance(kind, inspect.DictType):
        return [kind.value_type]
    return [kind.item_type] if isinstance(kind, inspect.ListType | inspect.VarTupleType) and not field else []
