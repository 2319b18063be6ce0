"""Ends work whose client has disconnected."""

from __future__ import annotations

import asyncio
from types import TracebackType

from common.errors import ClientDisconnected
from common.request.context import RequestContext


class cancel_on_disconnect:  # in lower case, since it reads as a statement: `async with cancel_on_disconnect(...)`
    """Cancels the block inside once the client has disconnected, and raises ClientDisconnected from it."""

    def __init__(self, context: RequestContext) -> None:
        self._disconnected = context.disconnected()

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        self._disconnected.add_done_callback(self._cancel)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disconnected.remove_done_callback(self._cancel)
        task, self._task = self._task, None  # the callback may have been scheduled already
        if kind is asyncio.CancelledError and self._disconnected.done() and task is not None:
            task.uncancel()
            raise ClientDisconnected("the client disconnected before the response was sent") from None

    def _cancel(self, _: object) -> None:
        if self._task is not None:
            self._task.cancel()
