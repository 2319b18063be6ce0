"""Faults on demand, for drills: latency, errors and wrong answers in the model's run, switched by POST /faults.

Opt-in (`FAULTS=true`); health, metrics and the switch itself are never touched.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from common.errors import ModelFailed
from common.inference.session import Session
from common.protocol.tensors import Array


class Faults(BaseModel):
    """What is injected into each run of the model from now on; the defaults inject nothing."""

    latency_seconds: Annotated[float, Field(ge=0, le=3600, description="Added to every run.")] = 0.0
    error_share: Annotated[float, Field(ge=0, le=1, description="Share of the runs that fail.")] = 0.0
    hang: Annotated[bool, Field(description="Runs do not end until this is switched off again.")] = False
    narrow: Annotated[bool, Field(description="Outputs of several columns lack the last one.")] = False


class FaultSwitch:
    """The faults that are on, shared by every session of a process."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._changed = threading.Condition()

    def set(self, faults: Faults) -> None:
        with self._changed:
            self.faults = faults
            self._changed.notify_all()

    def wrap(self, session: Session) -> Session:
        return _FaultySession(session, self)

    def strike(self) -> None:
        """Delays, hangs or fails as asked; called before each run."""
        with self._changed:
            if self.faults.latency_seconds:
                self._changed.wait(self.faults.latency_seconds)
            self._changed.wait_for(lambda: not self.faults.hang)
            if random.random() < self.faults.error_share:
                raise ModelFailed("an injected fault (POST /faults) made this run fail")


class _FaultySession:
    def __init__(self, session: Session, switch: FaultSwitch) -> None:
        self._session, self._switch = session, switch

    def run(self, inputs: dict[str, Array]) -> Sequence[Array]:
        self._switch.strike()
        outputs = self._session.run(inputs)
        if self._switch.faults.narrow:
            return [array[..., :-1] if array.ndim > 1 else array for array in outputs]
        return outputs


def fault_routes(switch: FaultSwitch) -> APIRouter:
    """GET and POST /faults."""
    router = APIRouter(tags=["drills"])

    @router.get("/faults", summary="The faults that are on")
    async def show() -> Faults:
        return switch.faults

    @router.post("/faults", summary="Switch faults on or off")
    async def change(faults: Faults) -> Faults:
        switch.set(faults)
        return switch.faults

    return router
