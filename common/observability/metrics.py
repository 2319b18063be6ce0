"""Prometheus metrics that are cheap enough for every request: plain numbers, which are collected at GET /metrics.

`prometheus_client` takes a lock for each observation, and a request makes several of them, all in one thread.
`docs/operations.md` lists names and labels. No label has values that a caller chooses.
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
    """The value of a counter for one set of labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        self.value += amount


class HistogramValue:
    """The buckets of a histogram for one set of labels."""

    __slots__ = ("bounds", "buckets", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.total += value


class Counter(Collector):
    """A counter with labels. Values are kept for ever, so there must be few sets of labels."""

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
    """A gauge whose values are read when metrics are collected: `read` returns pairs of labels and value."""

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
    """The metrics of every service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        counter, histogram = self._counter, self._histogram
        self.requests = counter("serving_requests", "Requests that have been answered.", "route", "method", "code")
        self.request_seconds = histogram(
            "serving_request_duration_seconds", "Time from the request to its response.", "route"
        )
        self.rejected = counter("serving_rejected", "Requests that were refused before inference.", "reason")
        self.cancelled = counter(
            "serving_cancelled", "Requests that were cancelled because the client disconnected.", "where"
        )
        self.in_progress = 0
        self.gauge("serving_requests_in_progress", "Requests in progress.", (), lambda: [((), self.in_progress)])

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
    """The additional metrics of a service that holds models."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        self.seconds = Histogram(
            registry, "serving_inference_duration_seconds", "Time of an inference stage.", ("model", "version", "stage")
        )
        self.batch_size = Histogram(registry, "serving_batch_size", "Rows in one run of a model.", ("model",), ROWS)
        self.queue_wait = Histogram(registry, "serving_queue_wait_seconds", "Time in the queue.", ("model",))
        self.rejected = metrics.rejected
        self.cancelled = metrics.cancelled
