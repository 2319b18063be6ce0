"""The parameters of tensors and requests that Triton's clients send: each is obeyed, or refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.errors import InvalidInput

_SHARED_MEMORY = "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"


def check_input_parameters(parameters: Mapping[str, Any], where: str) -> None:
    """Raises InvalidInput for an input in shared memory, which this server does not read."""
    _refuse_shared_memory(parameters, where)


def check_output_parameters(parameters: Mapping[str, Any], where: str) -> None:
    """Raises InvalidInput for an output in shared memory or as classes, and for `binary_data` that is not a boolean."""
    _refuse_shared_memory(parameters, where)
    if "classification" in parameters:
        raise InvalidInput.at(
            f"{where}.parameters.classification",
            "is not supported; request the scores without it, and take the labels from the model's metadata",
        )
    _require_boolean(parameters, "binary_data", where)


def check_request_parameters(parameters: Mapping[str, Any]) -> None:
    """Raises InvalidInput for `binary_data_output` that is not a boolean."""
    _require_boolean(parameters, "binary_data_output", "")


def _refuse_shared_memory(parameters: Mapping[str, Any], where: str) -> None:
    for name in _SHARED_MEMORY:
        if name in parameters:
            raise InvalidInput.at(
                f"{where}.parameters.{name}", "shared memory is not supported; send the tensor in the request"
            )


def _require_boolean(parameters: Mapping[str, Any], name: str, where: str) -> None:
    if not isinstance(value := parameters.get(name, False), bool):
        at = f"{where}.parameters.{name}".removeprefix(".")
        raise InvalidInput.at(at, f"expected true or false, got {str(value)[:40]!r}")
