"""Prometheus metrics, cheap enough for every request: plain numbers that a collector reads when it is asked.

`prometheus_client` takes a lock and a method call for each observation; a hot route makes several per request in one
thread. Names and labels follow `docs/operations.md`; no label takes a value that a caller chooses.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class CounterValue:
    """One counter's value for one set of labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        self.value += amount


class HistogramValue:
    """One histogram's buckets for one set of labels."""

    __slots__ = ("bounds", "buckets", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.total += value


class Counter(Collector):
    """Values by labels; `at` makes and remembers one, so label sets must be few."""

    def __init__(self, registry: CollectorRegistry, name: str, help: str, labels: Sequence[str]) -> None:
        self.name, self.help, self.labels = name, help, labels
        self.values: dict[tuple[str, ...], CounterValue] = {}
        registry.register(self)

    def labelled(self, *labels: str) -> CounterValue:
        count = self.values.get(labels)
        if count is None:
            count = self.values[labels] = CounterValue()
        return count

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self.name, self.help, labels=self.labels)
        for labels, count in list(self.values.items()):
            family.add_metric(labels, count.value)
        yield family


class Histogram(Collector):
    """Distributions by labels."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        help: str,
        labels: Sequence[str],
        bounds: Sequence[float] = SECONDS,
    ) -> None:
        self.name, self.help, self.labels, self.bounds = name, help, labels, bounds
        self.values: dict[tuple[str, ...], HistogramValue] = {}
        registry.register(self)

    def labelled(self, *labels: str) -> HistogramValue:
        distribution = self.values.get(labels)
        if distribution is None:
            distribution = self.values[labels] = HistogramValue(self.bounds)
        return distribution

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        for labels, one in list(self.values.items()):
            cumulative, buckets = 0, []
            for bound, count in zip([*map(str, map(float, self.bounds)), "+Inf"], one.buckets, strict=True):
                cumulative += count
                buckets.append((bound, cumulative))
            family.add_metric(labels, buckets, one.total)
        yield family


class Gauge(Collector):
    """A value that is read when it is asked for: (labels, value) pairs from a function."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        help: str,
        labels: Sequence[str],
        read: Callable[[], Iterable[tuple[Sequence[str], float]]],
    ) -> None:
        self.name, self.help, self.labels, self.read = name, help, labels, read
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self.name, self.help, labels=self.labels)
        for labels, value in self.read():
            family.add_metric(list(labels), value)
        yield family


class Metrics:
    """What every service counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        counter, histogram = self._counter, self._histogram
        self.requests = counter("serving_requests", "Requests answered.", "route", "method", "code")
        self.request_seconds = histogram("serving_request_duration_seconds", "Time from request to answer.", "route")
        self.rejected = counter("serving_rejected", "Requests refused before any inference.", "reason")
        self.cancelled = counter("serving_cancelled", "Requests whose caller left before the answer.", "where")
        self.in_progress = 0
        self.gauge("serving_requests_in_progress", "Requests being answered.", (), lambda: [((), self.in_progress)])

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(self.registry, name, help, labels)

    def _histogram(self, name: str, help: str, *labels: str) -> Histogram:
        return Histogram(self.registry, name, help, labels)

    def gauge(
        self,
        name: str,
        help: str,
        labels: Sequence[str],
        read: Callable[[], Iterable[tuple[Sequence[str], float]]],
    ) -> None:
        Gauge(self.registry, name, help, labels, read)


class InferenceMetrics:
    """What a service that holds a model counts besides."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        self.seconds = Histogram(
            registry, "serving_inference_duration_seconds", "Time of a stage.", ("model", "version", "stage")
        )
        self.batch_size = Histogram(registry, "serving_batch_size", "Rows that shared a run.", ("model",), ROWS)
        self.queue_wait = Histogram(registry, "serving_queue_wait_seconds", "Time from arrival to run.", ("model",))
        self.rejected = metrics.rejected
        self.cancelled = metrics.cancelled
