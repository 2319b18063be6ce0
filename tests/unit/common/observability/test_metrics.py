"""What /metrics says can be read by Prometheus, adds up, and grows with nothing that a caller chooses."""

from __future__ import annotations

from collections.abc import Iterable

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as _openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from common.observability.metrics import SECONDS, InferenceMetrics, Metrics
from tests.unit.common.http.example_app import example_app
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.serving import served


def families(metrics: Metrics) -> dict[str, Metric]:
    return {family.name: family for family in parse(generate_latest(metrics.registry).decode())}


def test_counters_have_their_labels_and_the_suffix() -> None:
    metrics = Metrics()
    metrics.requests.labelled("/a", "GET", "200").inc()
    metrics.requests.labelled("/a", "GET", "200").inc(2)
    metrics.rejected.labelled('with "quotes"\\ and\nlines').inc()
    found = families(metrics)
    (sample,) = found["serving_requests"].samples
    assert (sample.name, sample.value) == ("serving_requests_total", 3)
    assert sample.labels == {"route": "/a", "method": "GET", "code": "200"}
    assert found["serving_rejected"].samples[0].labels == {"reason": 'with "quotes"\\ and\nlines'}


def test_buckets_are_cumulative_and_agree_with_count_and_sum() -> None:
    metrics = Metrics()
    values = [0.0001, 0.0005, 0.0006, 0.3, 31, 1000]
    for value in values:
        metrics.request_seconds.labelled("/a").observe(value)
    for _ in range(4):
        metrics.request_seconds.labelled("/a").observe(0.2)
    samples = families(metrics)["serving_request_duration_seconds"].samples
    buckets = {sample.labels["le"]: sample.value for sample in samples if sample.name.endswith("_bucket")}
    assert list(buckets) == [*map(str, map(float, SECONDS)), "+Inf"]
    for bound, count in buckets.items():
        assert count == sum(value <= float(bound) for value in [*values, *[0.2] * 4])
    totals = {sample.name.rpartition("_")[2]: sample.value for sample in samples if "le" not in sample.labels}
    assert totals == {"count": 10, "sum": pytest.approx(sum(values) + 0.8)}


def test_a_gauge_is_read_when_it_is_asked_for() -> None:
    metrics, depths = Metrics(), {"iris": 3.0}

    def read() -> Iterable[tuple[tuple[str], float]]:
        return [((name,), depth) for name, depth in depths.items()]

    metrics.gauge("serving_queue_depth", "Requests that wait.", ("model",), read)
    assert [sample.value for sample in families(metrics)["serving_queue_depth"].samples] == [3]
    depths.update(iris=0, lite=5)
    assert [sample.value for sample in families(metrics)["serving_queue_depth"].samples] == [0, 5]
    metrics.in_progress = 2
    assert families(metrics)["serving_requests_in_progress"].samples[0].value == 2


def test_every_name_is_in_base_units_and_described() -> None:
    metrics = Metrics()
    InferenceMetrics(metrics)
    for name, family in families(metrics).items():
        assert family.documentation
        assert not name.endswith(("_milliseconds", "_ms", "_total_total"))
    serving = {name for name in families(metrics) if name.startswith("serving_")}
    assert serving >= {"serving_requests", "serving_inference_duration_seconds", "serving_batch_size"}


def test_what_callers_choose_makes_no_new_labels() -> None:
    with (
        served(example_app(CapturedLog().service())) as running,
        httpx.Client(base_url=running.url, timeout=20) as client,
    ):
        for number in range(30):
            client.get(f"/hello/{number}?q={number}", headers={"X-Request-ID": f"id-{number}"})
            client.get(f"/nowhere/{number}")
            client.post(f"/direct/{number}", content=b"x", headers={"traceparent": f"00-{number:032x}-{1:016x}-01"})
        text = client.get("/metrics").text
        found = {family.name: family for family in parse(text)}
        labels = [(one.labels["route"], one.labels["code"]) for one in found["serving_requests"].samples]
        assert sorted(labels) == [("/direct/{what}", "200"), ("/hello/{name}", "200"), ("unmatched", "404")]
        openmetrics = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert {family.name for family in _openmetrics(openmetrics.text)} >= {"serving_requests"}
