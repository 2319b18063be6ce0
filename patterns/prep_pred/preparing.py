"""Preprocessing in this process, as a transport: it is called like a predictor on another server."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import msgspec

from common.client import ModelMetadata, PredictorRequest, PredictorResponse
from common.endpoints.fingerprint import FINGERPRINT
from common.errors import InvalidInput, PayloadTooLarge
from common.inference.executor import BoundedExecutor
from common.inference.manifest import Manifest, ModelLoadError, read_manifest
from common.preprocessing.steps import Preparer, preparer
from common.protocol.json_body import decode_json
from common.protocol.tensors import Array, TensorSpec
from common.protocol.values import text_of
from common.request.capacity import SMALL
from common.request.deadline import Deadline

INSTANCES = TensorSpec("instances", "BYTES", (-1,))
"""The raw input. Each element is the bytes of an image, named values as JSON, or a text."""

_values = msgspec.json.Decoder(dict[str, Any])


class Preparation:
    """Prepares instances by the newest model.yaml of a model; the tensor has at most `max_elements` elements."""

    def __init__(self, folder: Path, executor: BoundedExecutor, max_elements: int) -> None:
        self._folder, self._executor, self._max_elements = folder, executor, max_elements

    async def infer(self, request: PredictorRequest) -> PredictorResponse:
        """Raises InvalidInput, Overloaded, DeadlineExceeded."""
        manifest, steps = self._read
        items = request.inputs[INSTANCES.name].tolist()
        limit = self._max_elements // math.prod(steps.tensor.shape[1:])
        if not 1 <= len(items) <= limit:
            raise InvalidInput.at("instances", f"expected 1 to {limit}, got {len(items)}")
        tensors = await self._executor.run(request.deadline, self._prepare, items, request.deadline)
        return PredictorResponse(tensors, manifest.name, manifest.version, parameters={FINGERPRINT: steps.fingerprint})

    async def metadata(self, deadline: Deadline) -> ModelMetadata:
        """The metadata of the preprocessing. Raises ModelLoadError when there is no valid model.yaml."""
        manifest, steps = self._read
        properties = manifest.properties() | {
            FINGERPRINT: steps.fingerprint,
            "kind": steps.kind,
            "title": manifest.title,
            "fields": json.dumps([asdict(field) for field in steps.fields]),
            "examples": json.dumps(manifest.examples, ensure_ascii=False),
        }
        return ModelMetadata(manifest.name, (manifest.version,), (INSTANCES,), (steps.tensor,), properties)

    async def ready(self, deadline: Deadline) -> bool:
        return bool(self._read)

    def pinned(self, version: str) -> Self:
        return self

    async def close(self) -> None:
        """Does nothing, because no connection was opened."""

    @cached_property
    def _read(self) -> tuple[Manifest, Preparer]:
        versions = [path for path in self._folder.glob("*/model.yaml") if path.parent.name.isdecimal()]
        if not versions:
            raise ModelLoadError(f"{self._folder}: expected a file such as 1/model.yaml, found none")
        manifest = read_manifest(max(versions, key=lambda path: int(path.parent.name)))
        return manifest, preparer(manifest)

    def _prepare(self, items: Sequence[bytes], deadline: Deadline) -> dict[str, Array]:
        return self._read[1].prepare_many(self._decoded(items, deadline))

    def _decoded(self, items: Sequence[bytes], deadline: Deadline) -> Iterator[Any]:
        """Decodes the items one by one. The deadline is checked before each, because an image takes some time."""
        for index, item in enumerate(items):
            deadline.check("the next instance was prepared")
            match self._read[1].kind:
                case "values":
                    if len(item) > SMALL:
                        found = f"expected at most {SMALL} bytes, got {len(item)}"
                        raise PayloadTooLarge.at(f"instances[{index}]", found)
                    yield decode_json(_values, item, f"instances[{index}]")
                case "text":
                    yield text_of(item, f"instances[{index}].text")
                case "picture":
                    yield item
