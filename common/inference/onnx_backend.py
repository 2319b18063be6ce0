"""The plain data backend that both protocols meet in: infer within the deadline, say where the time went."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from functools import partial

from common.errors import ClientDisconnected, InvalidInput, PreprocessingMismatch
from common.inference.batching import RunResult
from common.inference.repository import LoadedModel, ModelRepository
from common.observability.log import Log
from common.observability.metrics import InferenceMetrics
from common.protocol import oip
from common.protocol.tensors import Array
from common.request.context import RequestContext

LOGGED_ELEMENTS = 64
FINGERPRINT = "preprocessing_fingerprint"


class OnnxBackend:
    """Answers inference requests out of a repository."""

    def __init__(
        self, repository: ModelRepository, metrics: InferenceMetrics, log: Log, logged_share: float = 0.0
    ) -> None:
        self.repository = repository
        self._metrics, self._log, self._logged_share = metrics, log, logged_share
        self.platform = oip.PLATFORM
        self.get = self.describe = repository.get

    def names(self) -> list[str]:
        return list(self.repository.entries())

    def versions(self, name: str) -> list[str]:
        return list(self.repository.entries()[name].versions)

    def ready(self) -> list[LoadedModel]:
        return list(self.repository.loaded())

    async def infer(
        self, context: RequestContext, model: LoadedModel, inputs: dict[str, Array], wanted: Sequence[str] = ()
    ) -> Mapping[str, Array]:
        """Outputs by name (all, or those `wanted`), for inputs that have been checked against the model.

        Raises InvalidInput for an output that the model does not have, PreprocessingMismatch for inputs that were
        prepared for another model, and whatever the batcher raises.
        """
        for name in wanted:
            if name not in model.output_names:
                raise InvalidInput.at("outputs", f"model {model.name!r} has no output {name!r}: {model.output_names}")
        if context.request_parameters:
            _check_fingerprint(model, context.request_parameters.get(FINGERPRINT))
        context.deadline.check("inference started")
        context.model = model.name
        rows = (next(iter(inputs.values())).shape or (1,))[0]
        future = model.batcher.submit(inputs, rows, context.deadline)
        try:
            answer = await (self._unless_gone(context, future) if model.batcher.slow(rows) else future)
        finally:
            del future  # a failed one holds this frame, and with it the inputs, until the collector runs
        context.stages["queue"] = answer.queued * 1e3
        context.stages["infer"] = answer.ran * 1e3
        outputs = dict(zip(model.output_names, answer.outputs, strict=True))
        if self._logged_share and random.random() < self._logged_share:
            self._log_prediction(model, inputs, outputs)
        return {name: outputs[name] for name in wanted} if wanted else outputs

    async def _unless_gone(self, context: RequestContext, future: asyncio.Future[RunResult]) -> RunResult:
        """Waits for an answer; a caller who leaves meanwhile takes the request out of the queue."""
        gone = context.disconnected()
        leave = partial(_cancel, future)
        gone.add_done_callback(leave)
        try:
            return await future
        except asyncio.CancelledError:
            if gone.done():
                raise ClientDisconnected("the caller left before its answer") from None
            raise
        finally:
            gone.remove_done_callback(leave)
            del future, leave

    def _log_prediction(self, model: LoadedModel, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        self._log.info(
            "prediction",
            model=model.name,
            version=model.version,
            inputs={name: _brief(array) for name, array in inputs.items()},
            outputs={name: _brief(array) for name, array in outputs.items()},
        )


def _cancel(future: asyncio.Future[RunResult], _: object) -> None:
    future.cancel()


def _check_fingerprint(model: LoadedModel, stated: object) -> None:
    expected = model.manifest.preprocessing.fingerprint
    if stated is not None and stated != expected:
        raise PreprocessingMismatch(
            f"the input was prepared with preprocessing {str(stated)[:80]!r}, but model {model.name!r} version "
            f"{model.version} expects {expected!r}: release both sides together"
        )


def _brief(array: Array) -> dict[str, object]:
    return {"shape": array.shape, "data": array.reshape(-1)[:LOGGED_ELEMENTS].tolist()}
