"""web_single with a batcher that does not know which requests have been read and are about to begin."""

from __future__ import annotations

from bench.alternatives.web_single import process_of
from common.observability.log import Logs
from common.roles.process import ServiceProcess
from common.service import Service
from patterns.web_single.settings import Settings

__all__ = ["Settings", "create_process"]


class UnknownArrivals(Service):
    """A service that knows of no requests but those that are being handled."""

    def requests_starting(self) -> int:
        return 0


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """web_single with UnknownArrivals: the batcher asks the service that it is given."""
    return process_of(UnknownArrivals(settings, logs), settings)
