"""A proxy's role for several models; nothing here knows what they are composed of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from common.composition.predictor_health import HealthMonitor
from common.endpoints.oip_rest import InferRoute
from common.errors import NotFound, NotReady
from common.roles.proxy import Composed, CompositionBackend, Predictors, Proxy
from common.roles.proxy_settings import ProxySettings
from common.service import Service

M = TypeVar("M", bound=Composed)


class PairsBackend(CompositionBackend, Generic[M]):
    """Models by name; one that cannot say yet what it is raises NotReady when it is asked for its version."""

    def __init__(self, models: Mapping[str, M], lacks: Callable[[], list[str]]) -> None:
        self._models, self._lacks = models, lacks

    def names(self) -> list[str]:
        return list(self._models)

    def versions(self, name: str) -> list[str]:
        return [self._models[name].version]

    def ready(self) -> list[Composed]:
        return [model for model in self._models.values() if _knows_itself(model)]

    def get(self, name: str, version: str | None = None) -> M:
        if name not in self._models or version not in (None, "", self._models[name].version):
            raise NotFound(
                f"there is no model {name!r}{f' {version}' if version else ''} here, only {', '.join(self._models)}"
            )
        return self._models[name]


def _knows_itself(model: Composed) -> bool:
    try:
        return bool(model.version)
    except NotReady:
        return False


class PairsProxy(Proxy, Generic[M]):
    """As Proxy, which has one model."""

    backend: PairsBackend[M]

    def __init__(
        self,
        service: Service,
        settings: ProxySettings,
        models: Mapping[str, M],
        predictors: Predictors,
        monitor: HealthMonitor,
    ) -> None:
        super().__init__(service, settings, next(iter(models.values())), predictors, monitor=monitor)
        self.backend = PairsBackend(models, service.health.failed_readiness_checks)
        self.direct = [InferRoute(self.backend)]
