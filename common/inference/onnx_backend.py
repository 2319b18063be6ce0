"""The backend of a service that holds models: it runs them with ONNX Runtime, within the deadline of each request."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from common.endpoints.backend import InferRequest, InferResponse
from common.endpoints.fingerprint import FINGERPRINT
from common.errors import ClientDisconnected, InvalidInput, ModelFailed, PayloadTooLarge, PreprocessingMismatch
from common.inference.batching import RunResult
from common.inference.repository import LoadedModel, ModelRepository
from common.observability.log import Log
from common.observability.metrics import InferenceMetrics
from common.protocol import oip
from common.protocol.tensors import Array
from common.protocol.values import as_text, many_texts
from common.request.context import RequestContext, beside_loop

LOGGED_ELEMENTS = 64  # a tensor with more is logged as a digest
LOGGED_TEXT = 2000  # characters or bytes of a tensor of BYTES; an encoded picture has more
LOGGED_LABELS, LOGGED_ROWS = 5, 8  # of a tensor of scores


class OnnxBackend:
    """Handles inference requests with the models of a repository.

    `log_share` is the share of requests (0 to 1) that are logged with their inputs and outputs.
    """

    def __init__(
        self, repository: ModelRepository, metrics: InferenceMetrics, log: Log, log_share: float = 0.0
    ) -> None:
        self.repository, self.metrics = repository, metrics
        self._log, self._log_share = log, log_share
        self.platform = oip.PLATFORM
        self.resolve = self.describe = repository.get

    def models(self) -> Mapping[str, Sequence[str]]:
        return {name: list(entry.versions) for name, entry in self.repository.entries().items()}

    async def infer(self, request: InferRequest[LoadedModel]) -> InferResponse:
        """Runs the model on its queue.

        Raises InvalidInput for an output that the model does not have, PreprocessingMismatch for inputs that were
        prepared for another model, and whatever the batcher raises.
        """
        context, model, inputs = request.context, request.model, request.inputs
        request.check_output_names()
        if request.parameters:
            _check_fingerprint(model, request.parameters.get(FINGERPRINT))
        context.deadline.check("inference started")
        context.model = model.name
        if model.texts:
            inputs = await beside_loop(many_texts(inputs.values()), _with_text, inputs, model.texts)
        rows = (next(iter(inputs.values())).shape or (1,))[0]
        if rows > context.most_rows:
            _check_rows(model, rows, context.most_rows)
        future = model.batcher.submit(inputs, rows, context.deadline)
        try:
            result = await (self._unless_disconnected(context, future) if model.batcher.slow(rows) else future)
        except ModelFailed as error:
            raise _without_elements(inputs, error) or error from None
        finally:
            del future  # a failed future refers to this frame, and so to the inputs, until the garbage collector runs
        context.stages["queue"] = result.queue_seconds * 1e3
        context.stages["infer"] = result.run_seconds * 1e3
        outputs = dict(zip(model.output_names, result.outputs, strict=True))
        if self._log_share and random.random() < self._log_share:
            self._log_prediction(model, inputs, outputs)
        wanted = {name: outputs[name] for name in request.outputs} if request.outputs else outputs
        return InferResponse(wanted, model.name, model.version)

    async def _unless_disconnected(self, context: RequestContext, future: asyncio.Future[RunResult]) -> RunResult:
        """Waits for a result. The request leaves the queue when its client disconnects."""
        disconnected = context.disconnected()
        cancel = partial(_cancel, future)
        disconnected.add_done_callback(cancel)
        try:
            return await future
        except asyncio.CancelledError:
            if disconnected.done():
                raise ClientDisconnected("the client disconnected before the model had answered") from None
            raise
        finally:
            disconnected.remove_done_callback(cancel)
            del future, cancel

    def _log_prediction(self, model: LoadedModel, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        self._log.info(
            "prediction",
            model=model.name,
            version=model.version,
            inputs={name: loggable(array) for name, array in inputs.items()},
            outputs={name: loggable(array, model.manifest.labels) for name, array in outputs.items()},
        )


def _with_text(inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
    """The inputs, those with these names as text. Raises InvalidInput for what is not UTF-8."""
    return {
        name: as_text(array, f"inputs[{index}]") if name in names else array
        for index, (name, array) in enumerate(inputs.items())
    }


def _without_elements(inputs: Mapping[str, Array], error: ModelFailed) -> InvalidInput | None:
    """The error for an input that has no elements, when the model failed on it; None when all inputs have some."""
    for index, (name, array) in enumerate(inputs.items()):
        if not array.size:
            reason = f"this model does not take {name!r} without elements, {list(array.shape)}: {error.detail}"
            return InvalidInput.at(f"inputs[{index}].shape", reason)
    return None


def _cancel(future: asyncio.Future[RunResult], _: object) -> None:
    future.cancel()


def _check_rows(model: LoadedModel, rows: int, most: int) -> None:
    if model.inputs[0].shape[:1] == (-1,):
        raise PayloadTooLarge.at("inputs[0].shape", f"expected at most {most} rows, got {rows}; send several requests")


def _check_fingerprint(model: LoadedModel, stated: object) -> None:
    expected = model.manifest.preprocessing.fingerprint
    if stated is not None and stated != expected:
        raise PreprocessingMismatch(
            f"the input was prepared with preprocessing {str(stated)[:80]!r}, but model {model.name!r} version "
            f"{model.version} expects {expected!r}; deploy the preparing service and the model from one release"
        )


def loggable(array: Array, labels: Sequence[str] = ()) -> dict[str, Any]:
    """A tensor as it is logged: its values if they are few, else a digest, since many may be a picture.

    Of many scores with labels, the highest are logged with theirs.
    """
    values = array.reshape(-1)
    text = sum(map(len, values)) if array.dtype == object else 0
    if values.size <= LOGGED_ELEMENTS and text <= LOGGED_TEXT:
        return {"shape": array.shape, "data": values.tolist()}
    if labels and array.ndim == 2 and array.shape[1] == len(labels):
        best = np.argsort(array[:LOGGED_ROWS], axis=1)[:, : -LOGGED_LABELS - 1 : -1]
        top = [{labels[at]: row[at].item() for at in order} for order, row in zip(best, array, strict=False)]
        return {"shape": array.shape, "labels": top}
    digest = hashlib.sha256()
    for part in values if array.dtype == object else [values.tobytes()]:
        digest.update(part.encode() if isinstance(part, str) else part)
    return {"shape": array.shape, "sha256": digest.hexdigest()}
