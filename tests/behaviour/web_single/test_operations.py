"""What an operator sees: metrics that count what was sent, and logs that tell each request and no secret."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from runtimes.base import Stack
from tests.conftest import Start
from tests.support import INFER, SETOSA, SETOSA_BY_NAME, VIRGINICA, eventually, log_lines, metric, question

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ROUTE = "/v2/models/{model}/infer"
SECRET = "s3cr3t-of-the-caller"


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    return start_for_module("web_single")


@pytest.fixture(scope="module")
def telling(start_for_module: Start) -> Stack:
    return start_for_module("web_single", PREDICTION_LOG_SHARE="1")


def samples(stack: Stack) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    answer = httpx.get(f"{stack.url()}/metrics", timeout=10)
    assert answer.headers["Content-Type"].startswith("text/plain")
    families = list(text_string_to_metric_families(answer.text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def test_metrics_count_what_was_sent(http: httpx.Client, stack: Stack) -> None:
    def now() -> tuple[float, ...]:
        url = stack.url()
        return (
            metric(url, "serving_requests_total", route=ROUTE, method="POST", code="200"),
            metric(url, "serving_requests_total", route=ROUTE, method="POST", code="400"),
            metric(url, "serving_requests_total", route="/predict", code="200"),
            metric(url, "serving_request_duration_seconds_count", route=ROUTE),
            metric(url, "serving_inference_duration_seconds_count", model="iris", version="1", stage="infer"),
            metric(url, "serving_batch_size_sum", model="iris"),
            metric(url, "serving_queue_wait_seconds_count", model="iris"),
        )

    before = now()
    for _ in range(7):
        http.post(stack.url() + INFER, json=question(SETOSA, VIRGINICA))
    for _ in range(3):
        http.post(stack.url() + INFER, json={})
    http.post(f"{stack.url()}/predict", json={"instances": [SETOSA_BY_NAME]})
    assert [after - was for after, was in zip(now(), before, strict=True)] == [7, 3, 1, 10, 8, 15, 8]


def test_every_metric_is_there_from_the_start_under_its_name(stack: Stack) -> None:
    names = {name for name, _ in samples(stack)}
    for name in (
        "serving_requests_in_progress",
        "serving_queue_depth",
        "serving_model_info",
        "serving_last_progress_timestamp_seconds",
        "serving_batch_size_bucket",
        "serving_queue_wait_seconds_bucket",
        "serving_rejected_total",
        "serving_cancelled_total",
        "process_resident_memory_bytes",
        "process_open_fds",
    ):
        assert name in names
    assert metric(stack.url(), "serving_requests_in_progress") == 1  # the one that asks


def test_metrics_come_in_the_newer_format_to_those_who_ask_for_it(http: httpx.Client, stack: Stack) -> None:
    answer = http.get(f"{stack.url()}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    families = openmetrics.text_string_to_metric_families(answer.text)
    assert "serving_requests" in {family.name for family in families}


def test_no_label_takes_a_value_that_a_caller_chooses(http: httpx.Client, stack: Stack) -> None:
    http.get(f"{stack.url()}/nowhere")  # so that those labels are there
    http.post(f"{stack.url()}/v2/models/nothing/infer", json={})
    http.post(f"{stack.url()}/v2/models/nothing/versions/0/infer", json={})
    http.get(f"{stack.url()}/v2/models/nothing")
    http.request("OPTIONS", f"{stack.url()}/nowhere")
    before = samples(stack).keys()
    for number in range(12):
        http.get(f"{stack.url()}/nowhere/{number}", headers={"X-Request-ID": f"id-{number}"})
        http.get(f"{stack.url()}/v2/models/nothing-{number}")
        http.post(f"{stack.url()}/v2/models/nothing-{number}/infer", json={})
        http.post(f"{stack.url()}/v2/models/iris/versions/{number + 9}/infer", json={})
        http.post(f"{stack.url()}/v2/repository/models/{number}/load")
    seen = {labels for _, labels in samples(stack).keys() - before}
    assert not [one for one in seen if re.search(r"nothing-|id-|/\d", str(one))]
    assert len(samples(stack).keys() - before) < 40  # one new set of labels or two, each with its buckets


def line_of(stack: Stack, request_id: str) -> dict[str, Any]:
    """The access line of a request, which is written a moment after its answer."""
    found = eventually(lambda: log_lines(stack, event="request", request_id=request_id), 5, "the line is written")
    assert len(found) == 1
    return dict(found[0])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "route"),
    [
        ("POST", INFER, question(SETOSA), "200", ROUTE),
        ("POST", INFER, {}, "400", ROUTE),
        ("POST", "/predict", {"instances": [SETOSA_BY_NAME]}, "200", "/predict"),
        ("GET", "/v2/models/iris/ready", None, "200", "/v2/models/{model}/ready"),
        ("GET", "/nowhere", None, "404", "unmatched"),
    ],
)
def test_every_request_is_one_line_with_its_ids(
    http: httpx.Client, stack: Stack, method: str, path: str, body: Any, status: str, route: str
) -> None:
    given = {"X-Request-ID": f"{method}{path}{status}", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    answer = http.request(method, stack.url() + path, json=body, headers=given)
    line = line_of(stack, given["X-Request-ID"])
    assert (line["pattern"], line["service"]) == ("web_single", "api")
    assert (line["method"], line["route"], line["status"]) == (method, route, status)
    assert line["trace_id"] == TRACE
    assert line["milliseconds"] > 0
    assert line["bytes_out"] == len(answer.content)
    assert line["bytes_in"] == len(answer.request.content)
    assert ("error" in line) == (status != "200")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])


def test_each_request_is_logged_once(http: httpx.Client, stack: Stack) -> None:
    ids = [f"once-{number}" for number in range(20)]
    for one in ids:
        http.post(stack.url() + INFER, json=question(SETOSA), headers={"X-Request-ID": one})
    line_of(stack, ids[-1])
    logged = Counter(line["request_id"] for line in log_lines(stack, event="request"))
    assert [logged[one] for one in ids] == [1] * len(ids)


def test_inputs_and_secrets_stay_out_of_the_log(http: httpx.Client, stack: Stack) -> None:
    headers = {"Authorization": f"Bearer {SECRET}", "Cookie": f"session={SECRET}", "X-Request-ID": "with-a-secret"}
    http.post(f"{stack.url()}{INFER}?token={SECRET}", json=question([5.125, 3.5, 1.4, 0.2]), headers=headers)
    line_of(stack, "with-a-secret")
    lines = list(stack.logs("api"))
    assert not [line for line in lines if SECRET in line or "5.125" in line]
    assert not log_lines(stack, event="prediction")


def test_predictions_are_logged_where_a_setting_says_so(http: httpx.Client, telling: Stack) -> None:
    http.post(telling.url() + INFER, json=question([5.125, 3.5, 1.5, 0.25]), headers={"X-Request-ID": "told"})
    (line,) = eventually(lambda: log_lines(telling, event="prediction", request_id="told"), 5, "the line is written")
    assert (line["model"], line["version"]) == ("iris", "1")
    assert line["inputs"] == {"features": {"shape": [1, 4], "data": [5.125, 3.5, 1.5, 0.25]}}
    assert line["outputs"]["label"] == {"shape": [1], "data": [0]}
    assert len(line["outputs"]["probabilities"]["data"]) == 3


def test_a_logged_prediction_is_cut_to_a_bounded_length(http: httpx.Client, telling: Stack) -> None:
    http.post(telling.url() + INFER, json=question(*[SETOSA] * 5_000), headers={"X-Request-ID": "long"})
    (line,) = eventually(lambda: log_lines(telling, event="prediction", request_id="long"), 5, "the line is written")
    assert line["inputs"]["features"]["shape"] == [5_000, 4]
    assert len(json.dumps(line)) < 10_000


def test_every_line_is_json(stack: Stack, http: httpx.Client) -> None:
    http.post(stack.url() + INFER, content=b"\xff\x00{", headers={"X-Request-ID": 'a"\\b'})
    http.get(f"{stack.url()}/%0a%22%7b")
    texts = [line.partition("| ")[2] for line in stack.logs("api")]
    assert texts
    for text in texts:
        assert json.loads(text)["event"]
