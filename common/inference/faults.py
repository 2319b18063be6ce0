"""Fault injection for drills: POST /faults adds latency, errors or wrong outputs to the runs of a model.

It is off unless `FAULTS=true`. Faults never affect the health endpoints, the metrics or /faults itself.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from common.errors import ModelFailed
from common.inference.session import Session
from common.protocol.tensors import Array


class Faults(BaseModel):
    """The faults that are injected into every run of a model from now on. The defaults inject nothing."""

    model_config = ConfigDict(extra="forbid")

    latency_seconds: Annotated[float, Field(ge=0, le=3600, description="Seconds added to every run.")] = 0.0
    error_share: Annotated[float, Field(ge=0, le=1, description="Share of runs that fail, 0 to 1.")] = 0.0
    hang: Annotated[bool, Field(description="Runs do not end until this is set to false again.")] = False
    narrow: Annotated[bool, Field(description="Outputs with two or more dimensions lose their last column.")] = False


class FaultSwitch:
    """The faults that are active, shared by all sessions of a process."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._changed = threading.Condition()

    def set(self, faults: Faults) -> None:
        with self._changed:
            self.faults = faults
            self._changed.notify_all()

    def wrap(self, session: Session) -> Session:
        return _FaultySession(session, self)

    def inject(self) -> None:
        """Delays, blocks or fails, as the active faults say. Called before each run, in the thread of the run."""
        with self._changed:
            if self.faults.latency_seconds:
                self._changed.wait(self.faults.latency_seconds)
            self._changed.wait_for(lambda: not self.faults.hang)
            if random.random() < self.faults.error_share:
                raise ModelFailed("an injected fault made this run fail; POST /faults switches it off")


class _FaultySession:
    def __init__(self, session: Session, switch: FaultSwitch) -> None:
        self._session, self._switch = session, switch

    def run(self, inputs: dict[str, Array]) -> Sequence[Array]:
        self._switch.inject()
        outputs = self._session.run(inputs)
        if self._switch.faults.narrow:
            return [array[..., :-1] if array.ndim > 1 else array for array in outputs]
        return outputs


def fault_routes(switch: FaultSwitch) -> APIRouter:
    """GET and POST /faults."""
    router = APIRouter(tags=["drills"])

    @router.get("/faults", summary="Show the active faults")
    async def show() -> Faults:
        return switch.faults

    @router.post("/faults", summary="Set the active faults")
    async def change(faults: Faults) -> Faults:
        switch.set(faults)
        return switch.faults

    return router
