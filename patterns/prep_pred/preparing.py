"""Preprocessing in this process, asked as a predictor elsewhere is asked: a transport that goes nowhere."""

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
from common.errors import InvalidInput
from common.inference.executor import BoundedExecutor
from common.inference.manifest import Manifest, ModelLoadError, read_manifest
from common.preprocessing.steps import Preparer, preparer
from common.protocol.json_body import decode_json
from common.protocol.tensors import Array, TensorSpec
from common.request.deadline import Deadline

FINGERPRINT = "preprocessing_fingerprint"
INSTANCES = TensorSpec("instances", "BYTES", (-1,))
"""What goes in, an element each: the bytes of a picture, named values as JSON, or a text."""

_values = msgspec.json.Decoder(dict[str, Any])


class Preparation:
    """A model's preprocessing, by its newest model.yaml: instances in, its tensor of at most `most` numbers out."""

    def __init__(self, folder: Path, executor: BoundedExecutor, most: int) -> None:
        self._folder, self._executor, self._most = folder, executor, most

    async def infer(self, request: PredictorRequest) -> PredictorResponse:
        """Raises InvalidInput, Overloaded, DeadlineExceeded."""
        manifest, steps = self._read
        items = request.inputs[INSTANCES.name].tolist()
        most = self._most // math.prod(steps.tensor.shape[1:])
        if not 1 <= len(items) <= most:
            raise InvalidInput.at("instances", f"expected 1 to {most}, got {len(items)}")
        tensors = await self._executor.run(request.deadline, self._prepare, items, request.deadline)
        return PredictorResponse(tensors, manifest.name, manifest.version, parameters={FINGERPRINT: steps.fingerprint})

    async def metadata(self, deadline: Deadline) -> ModelMetadata:
        """Raises ModelLoadError where there is no model.yaml that can be followed."""
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
        """Nothing was opened."""

    @cached_property
    def _read(self) -> tuple[Manifest, Preparer]:
        versions = [path for path in self._folder.glob("*/model.yaml") if path.parent.name.isdecimal()]
        if not versions:
            raise ModelLoadError(f"{self._folder}: holds no version with a model.yaml")
        manifest = read_manifest(max(versions, key=lambda path: int(path.parent.name)))
        return manifest, preparer(manifest)

    def _prepare(self, items: Sequence[bytes], deadline: Deadline) -> dict[str, Array]:
        return self._read[1].prepare_many(self._opened(items, deadline))

    def _opened(self, items: Sequence[bytes], deadline: Deadline) -> Iterator[Any]:
        """One after the other; the deadline is looked at before each, for a picture takes its time."""
        for index, item in enumerate(items):
            deadline.check("the next instance was prepared")
            match self._read[1].kind:
                case "values":
                    yield decode_json(_values, item, f"instances[{index}]")
                case "text":
                    yield item.decode(errors="replace")
                case "picture":
                    yield item
