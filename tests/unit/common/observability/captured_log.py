"""A service's log, kept in memory and read back line by line."""

from __future__ import annotations

import io
import json
from typing import Any

from common.observability.log import Logs
from common.service import Service
from common.settings import ServiceSettings


class CapturedLog:
    """`logs` is what a service logs with."""

    def __init__(self, level: str = "info") -> None:
        self._stream = io.BytesIO()
        self.logs = Logs("a_pattern", "a_service", level, self._stream)

    def service(self, **settings: Any) -> Service:
        """A service that logs here; `settings` beside the defaults."""
        return Service(ServiceSettings.model_validate(settings), self.logs)

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Every line as JSON (or those of one event), in order; fails on one that is not valid JSON."""
        self.logs.writer.flush()
        text = self._stream.getvalue()
        assert text.endswith(b"\n") or not text
        lines = [json.loads(line) for line in text.splitlines()]
        return [line for line in lines if event in (None, line["event"])]
