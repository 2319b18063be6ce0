"""A request that comes back to a proxy that it has passed is refused at once."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from common.endpoints.backend import InferRequest
from common.errors import LoopDetected
from common.request.context import RequestContext
from common.request.deadline import Deadline
from common.request.trace import continue_trace
from patterns.parallel.composition import Parallel
from patterns.parallel.ensemble import Ensemble


class Stopped(Exception):
    """The request was let through."""


class Recording:
    """An ensemble that notes the ids it is to pass on."""

    needed, columns, labels, via = None, ("f",), ("a",), ""

    def calls(self, context: RequestContext, rows: Any, columns: Any, via: str) -> Any:
        self.via = via
        raise Stopped


async def asked(**parameters: Any) -> str:
    """The ids that the proxy `one` passes on."""
    ensemble = Recording()
    parallel = Parallel(cast(Ensemble, ensemble), "mean", "one")
    context = RequestContext("POST", "/", "id", continue_trace(None), Deadline.after(5))
    request = InferRequest(context, parallel, {"features": np.zeros((1, 1), np.float32)}, parameters=parameters)
    with pytest.raises(Stopped):
        await parallel.infer(request)
    return ensemble.via


async def test_a_proxy_adds_its_id() -> None:
    assert await asked() == "one"
    assert await asked(via="two,three") == "two,three,one"
    assert await asked(via=7) == "one"


async def test_its_own_id_is_a_circle() -> None:
    with pytest.raises(LoopDetected, match="2 calls before: these proxies form a circle; check PREDICTORS of each"):
        await asked(via="zero,one,two")


async def test_more_proxies_than_anyone_needs_are_taken_for_a_circle() -> None:
    with pytest.raises(LoopDetected, match="at most 4 proxies, got one that has passed 5"):
        await asked(via="a,b,c,d,e")
