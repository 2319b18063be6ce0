"""web_single with a batcher that does not know what the server has read."""

from __future__ import annotations

from pydantic import Field

from bench.alternatives.web_single import process_of
from common.observability.log import Logs
from common.roles.process import ServiceProcess
from common.service import Service
from patterns.web_single.settings import Settings as WebSettings

__all__ = ["Settings", "create_process"]


class UnknownArrivals(Service):
    """A service that knows of no requests but those that are being handled."""

    def requests_starting(self) -> int:
        return 0


class NeverOnly(Service):
    """A service that does not know whether a request is the only one."""

    def is_only_request(self) -> bool:
        return False


ALTERNATIVES = {"arrivals": UnknownArrivals, "only": NeverOnly}


class Settings(WebSettings):
    """web_single's settings, and what the batcher does not know."""

    alternative: str = Field("arrivals", description="arrivals or only.")


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """web_single with one of these services: the batcher asks the service that it is given."""
    return process_of(ALTERNATIVES[settings.alternative](settings, logs), settings)
