"""Prepares single items as they are sent: the file of a picture, named values as JSON, or a text.

Any endpoint that takes such items uses this, so that all of them accept and refuse the same.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import msgspec

from common.endpoints.backend import ModelHandle
from common.errors import InvalidInput, PayloadTooLarge
from common.inference.executor import BoundedExecutor
from common.inference.manifest import Manifest
from common.preprocessing.steps import Kind, Preparer, preparer
from common.protocol.json_body import Payload, decode_json
from common.protocol.tensors import Array
from common.protocol.values import text_of
from common.request.capacity import SMALL
from common.request.context import RequestContext
from common.request.disconnect import cancel_on_disconnect

_values = msgspec.json.Decoder(dict[str, Any])


class ItemPreparer:
    """The preprocessing of the models of a backend, which is compiled at a version's first item.

    Items are prepared in the threads of `executor`. A picture has at most `max_pixels`.
    """

    def __init__(self, executor: BoundedExecutor, max_pixels: int) -> None:
        self._executor, self._max_pixels = executor, max_pixels
        self._compiled: dict[str, tuple[Manifest, Preparer]] = {}

    def kind(self, model: ModelHandle) -> Kind | None:
        """What an item of this model is; None for a model whose manifest has no preprocessing steps."""
        compiled = self._preparer(model)
        return compiled.kind if compiled else None

    async def prepare(self, context: RequestContext, model: ModelHandle, item: Payload) -> dict[str, Array]:
        """The model's inputs for one item; records the stages `decode` and `prepare`.

        Raises InvalidInput for an item that the model does not take, Overloaded, DeadlineExceeded.
        """
        steps = self._preparer(model)
        if steps is None:
            raise InvalidInput(f"model {model.name!r} takes tensors only, since its model.yaml has no preprocessing")
        began = perf_counter()
        async with cancel_on_disconnect(context):
            inputs, decode, prepare = await self._executor.run(
                context.deadline, _prepared, steps, item, self._max_pixels
            )
        waited = perf_counter() - began - decode - prepare
        for stage, seconds in (("decode", decode), ("prepare", prepare), ("queue", waited)):
            context.stages[stage] = context.stages.get(stage, 0.0) + seconds * 1e3
        return inputs

    def _preparer(self, model: ModelHandle) -> Preparer | None:
        manifest: Manifest | None = getattr(model, "manifest", None)
        if manifest is None or not manifest.preprocessing.steps:
            return None
        known = self._compiled.get(model.name)
        if known is None or known[0] is not manifest:
            known = self._compiled[model.name] = (manifest, preparer(manifest))
        return known[1]


def _prepared(steps: Preparer, item: Payload, max_pixels: int) -> tuple[dict[str, Array], float, float]:
    """The model's inputs, the seconds of decoding, and the seconds of the other preprocessing steps."""
    start = perf_counter()
    decoded: Any
    if steps.kind == "picture":
        from common.preprocessing.pictures import open_picture  # Pillow, which not every image has

        decoded = open_picture(item, max_pixels)
    elif steps.kind == "values":
        if len(item) > SMALL:
            raise PayloadTooLarge.at("body", f"expected at most {SMALL} bytes of named values, got {len(item)}")
        decoded = decode_json(_values, item)
    else:
        decoded = text_of(item, "text")
    middle = perf_counter()
    return steps.prepare(decoded), middle - start, perf_counter() - middle
