"""One run of a model for one request or several."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from common.errors import ModelFailed, ServingError
from common.inference.batching import QueuedRequest
from common.inference.manifest import one_line
from common.inference.session import Session
from common.protocol.tensors import Array

Batch = list[QueuedRequest]
RunOutcome = Sequence[Array] | ServingError


def run_batch(session: Session, batch: Batch) -> tuple[float, float, list[RunOutcome]]:
    """Runs a batch. Returns the start, the seconds and one outcome for each request. Called in any thread."""
    start = perf_counter()
    if len(batch) == 1:
        outcomes = [_run_alone(session, batch[0])]
    else:
        try:
            outcomes = _run_together(session, batch)
        except Exception:  # the batch failed: run each request alone to find the one at fault
            outcomes = [_run_alone(session, request) for request in batch]
    return start, perf_counter() - start, outcomes


def _run_together(session: Session, batch: Batch) -> list[RunOutcome]:
    inputs = {name: np.concatenate([request.inputs[name] for request in batch]) for name in batch[0].inputs}
    outputs = session.run(inputs)
    total = sum(request.rows for request in batch)
    if any(output.shape[:1] != (total,) for output in outputs):
        raise ModelFailed(f"an output does not have the {total} rows of the inputs, so its rows cannot be told apart")
    outcomes: list[RunOutcome] = []
    at = 0
    for request in batch:
        end = at + request.rows
        outcomes.append([output[at:end] for output in outputs])
        at = end
    return outcomes


def _run_alone(session: Session, request: QueuedRequest) -> RunOutcome:
    try:
        return session.run(request.inputs)
    except ServingError as error:
        return error
    except Exception as error:  # ONNX Runtime raises a dozen unrelated classes here
        return ModelFailed(f"the model failed on this input: {one_line(error, 300)}")
