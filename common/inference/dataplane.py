"""The plain data plane that both protocols meet in: infer within the deadline, say where the time went."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from functools import partial

from common.errors import ClientGone, InvalidInput, Mismatch
from common.exchange import Exchange
from common.inference.batching import Answer
from common.inference.repository import Loaded, ModelRepository
from common.log import Log
from common.metrics import InferenceMetrics
from common.protocol import oip
from common.protocol.tensors import Array

LOGGED_ELEMENTS = 64
FINGERPRINT = "preprocessing_fingerprint"


class DataPlane:
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

    def ready(self) -> list[Loaded]:
        return list(self.repository.loaded())

    async def infer(
        self, exchange: Exchange, model: Loaded, inputs: dict[str, Array], wanted: Sequence[str] = ()
    ) -> Mapping[str, Array]:
        """Outputs by name (all, or those `wanted`), for inputs that have been checked against the model.

        Raises InvalidInput for an output that the model does not have, Mismatch for inputs that say they were prepared
        for another model, and whatever the batcher raises.
        """
        for name in wanted:
            if name not in model.output_names:
                raise InvalidInput.at("outputs", f"model {model.name!r} has no output {name!r}: {model.output_names}")
        if exchange.request_parameters:
            _check_fingerprint(model, exchange.request_parameters.get(FINGERPRINT))
        exchange.deadline.check("inference started")
        exchange.model = model.name
        rows = (next(iter(inputs.values())).shape or (1,))[0]
        future = model.batcher.submit(inputs, rows, exchange.deadline)
        try:
            answer = await (self._unless_gone(exchange, future) if model.batcher.slow(rows) else future)
        finally:
            del future  # a failed one holds this frame, and with it the inputs, until the collector runs
        exchange.stages["queue"] = answer.queued * 1e3
        exchange.stages["infer"] = answer.ran * 1e3
        outputs = dict(zip(model.output_names, answer.outputs, strict=True))
        if self._logged_share and random.random() < self._logged_share:
            self._log_prediction(model, inputs, outputs)
        return {name: outputs[name] for name in wanted} if wanted else outputs

    async def _unless_gone(self, exchange: Exchange, future: asyncio.Future[Answer]) -> Answer:
        """Waits for an answer; a caller who leaves meanwhile takes the request out of the queue."""
        gone = exchange.gone()
        leave = partial(_cancel, future)
        gone.add_done_callback(leave)
        try:
            return await future
        except asyncio.CancelledError:
            if gone.done():
                raise ClientGone("the caller left before its answer") from None
            raise
        finally:
            gone.remove_done_callback(leave)
            del future, leave

    def _log_prediction(self, model: Loaded, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        self._log.info(
            "prediction",
            model=model.name,
            version=model.version,
            inputs={name: _brief(array) for name, array in inputs.items()},
            outputs={name: _brief(array) for name, array in outputs.items()},
        )


def _cancel(future: asyncio.Future[Answer], _: object) -> None:
    future.cancel()


def _check_fingerprint(model: Loaded, stated: object) -> None:
    expected = model.manifest.preprocessing.fingerprint
    if stated is not None and stated != expected:
        raise Mismatch(
            f"the input was prepared with preprocessing {str(stated)[:80]!r}, but model {model.name!r} version "
            f"{model.version} expects {expected!r}: release both sides together"
        )


def _brief(array: Array) -> dict[str, object]:
    return {"shape": array.shape, "data": array.reshape(-1)[:LOGGED_ELEMENTS].tolist()}
