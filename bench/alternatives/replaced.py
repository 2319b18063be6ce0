"""web_single with one small part of ours replaced by what uvicorn, asyncio, orjson or numpy does in its place.

None of these parts is an argument of anything, so each is replaced in its module before the application is built.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import perf_counter

import numpy as np
import orjson
import uvicorn
from pydantic import Field

from common.http.idle import IdleTimedProtocol
from common.http.protocol import HttpProtocol
from common.inference import batcher
from common.observability import log
from common.observability.log import Logs
from common.protocol import oip, tensors
from common.protocol.json_body import Payload
from common.request.context import RequestContext
from common.roles.process import ServiceProcess
from patterns.web_single import api
from patterns.web_single.settings import Settings as WebSettings


class Settings(WebSettings):
    """web_single's settings, and which part is replaced."""

    alternative: str = Field("", description="The part that is replaced.")


def timer_for_each_request() -> None:
    """uvicorn's timer for idle connections: one is made and cancelled for each request."""
    del HttpProtocol.on_response_complete
    del IdleTimedProtocol.timeout_keep_alive_handler
    del IdleTimedProtocol._unset_keepalive_if_required


def collector_as_python_has_it() -> None:
    """The garbage collector's thresholds are Python's, and nothing is frozen."""
    gc.freeze = lambda: None
    gc.set_threshold = lambda *_: None


def asyncio_loop() -> None:
    """asyncio's own event loop."""
    # the server takes no event loop
    uvicorn.Config.get_loop_factory = lambda self: None  # type: ignore[method-assign]


def every_run_in_a_thread() -> None:
    """No run of a model is short enough for the event loop."""
    batcher.INLINE_SECONDS = 0.0


def line_at_once() -> None:
    """Each log line is written when it is made."""
    keep = log.LineWriter.line

    def at_once(self: log.LineWriter, line: log.LogLine) -> None:
        self._scheduled = True  # so that no timer is made
        keep(self, line)
        self.flush()

    log.LineWriter.line = at_once  # type: ignore[method-assign]  # Logs takes no writer


def time_formatted_for_each_line() -> None:
    """Each line formats its own time."""
    # Logs takes no clock
    log.Clock.__call__ = lambda self: datetime.now(UTC).isoformat(timespec="milliseconds")  # type: ignore[method-assign]


def timing_joined_for_each_response() -> None:
    """Server-Timing is put together from its stages for each response."""

    def server_timing(self: RequestContext) -> str:
        stages = [f"{name};dur={milliseconds:.3f}" for name, milliseconds in self.stages.items()]
        return ", ".join([*stages, f"total;dur={(perf_counter() - self.started) * 1e3:.3f}"])

    # the envelope takes no class of contexts
    RequestContext.server_timing = server_timing  # type: ignore[method-assign]


def numpy_checks_few_numbers() -> None:
    """numpy checks that numbers are finite, however few there are."""
    tensors._FEW = 0


def orjson_and_numpy() -> None:
    """JSON tensors read by orjson and numpy, which take true for 1 and "1" for 1.0; names of fields are not said."""

    def decode(body: Payload, inputs: Sequence[tensors.TensorSpec]) -> oip.DecodedRequest:
        request = orjson.loads(body)
        arrays = {
            one["name"]: np.array(one["data"], tensors.dtype_of(one["datatype"], "")).reshape(one["shape"])
            for one in request["inputs"]
        }
        oip.check_inputs(arrays, inputs)
        wanted = [oip.RequestedOutput(one["name"], one.get("parameters", {})) for one in request.get("outputs", ())]
        return oip.DecodedRequest(arrays, request.get("id"), wanted, False, request.get("parameters", {}))

    oip.decode_request = decode


ALTERNATIVES: dict[str, Callable[[], None]] = {
    re.sub("_", "-", one.__name__): one
    for one in (
        timer_for_each_request,
        collector_as_python_has_it,
        asyncio_loop,
        every_run_in_a_thread,
        line_at_once,
        time_formatted_for_each_line,
        timing_joined_for_each_response,
        numpy_checks_few_numbers,
        orjson_and_numpy,
    )
}


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """web_single with one part replaced; none where `alternative` is empty."""
    if settings.alternative:
        ALTERNATIVES[settings.alternative]()
    return api.create_process(settings, logs)
