"""web_single with prometheus_client's counters and histograms, their labelled children cached.

`common.observability.metrics` makes its metrics itself and takes no factory, so its two classes are replaced there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry

from common.observability import metrics
from common.observability.log import Logs
from common.roles.process import ServiceProcess
from patterns.web_single import api
from patterns.web_single.settings import Settings

__all__ = ["Settings", "create_process"]


class Labelled:
    """A metric of prometheus_client whose children are looked up once for each set of labels."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric
        self._children: dict[tuple[str, ...], Any] = {}

    def labelled(self, *labels: str) -> Any:
        """The child with these labels; it has `inc` or `observe`."""
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._metric.labels(*labels) if labels else self._metric
        return child


def counter(registry: CollectorRegistry, name: str, help: str, labels: Sequence[str]) -> Labelled:
    """A counter in place of `metrics.Counter`."""
    return Labelled(prometheus_client.Counter(name, help, labels, registry=registry))


def histogram(
    registry: CollectorRegistry, name: str, help: str, labels: Sequence[str], bounds: Sequence[float] = metrics.SECONDS
) -> Labelled:
    """A histogram in place of `metrics.Histogram`."""
    return Labelled(prometheus_client.Histogram(name, help, labels, registry=registry, buckets=bounds))


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """web_single, counting with prometheus_client."""
    prometheus_client.disable_created_metrics()
    metrics.Counter, metrics.Histogram = counter, histogram  # type: ignore[assignment,misc]  # no factory to pass
    return api.create_process(settings, logs)
