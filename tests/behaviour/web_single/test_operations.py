"""What an operator sees: metrics that count what was sent, and logs that tell each request and no secret."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import httpx
import pytest

from runtimes.base import Stack
from tests.conftest import Start
from tests.support import INFER, SETOSA, SETOSA_BY_NAME, VIRGINICA, eventually, log_lines, metric, question

ROUTE = "/v2/models/{model}/infer"
SECRET = "s3cr3t-of-the-caller"


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    return start_for_module("web_single")


@pytest.fixture(scope="module")
def telling(start_for_module: Start) -> Stack:
    return start_for_module("web_single", PREDICTION_LOG_SHARE="1")


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


def line_of(stack: Stack, request_id: str) -> dict[str, Any]:
    """The access line of a request, which is written a moment after its answer."""
    found = eventually(lambda: log_lines(stack, event="request", request_id=request_id), 5, "the line is written")
    assert len(found) == 1
    return dict(found[0])


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
