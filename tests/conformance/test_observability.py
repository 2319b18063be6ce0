"""What an operator sees: metrics count what was sent, logs tell each request once and in every service."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests.conformance.served import Served
from tests.support import Lines, client, eventually, log_lines

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SECRET = "s3cr3t-of-the-caller"
NAMES = {
    "serving_requests_in_progress",
    "serving_request_duration_seconds_bucket",
    "process_resident_memory_bytes",
    "process_open_fds",
}
OF_PREDICTORS = {
    "serving_queue_depth",
    "serving_queue_wait_seconds_bucket",
    "serving_model_info",
    "serving_batch_size_bucket",
    "serving_last_progress_timestamp_seconds",
    "serving_cancelled_total",
}
SETTLED = 5  # seconds until what follows a response is counted and logged


def samples(base: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The samples of a service by name and labels; no metric may come twice."""
    response = client().get(f"{base}/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    families = list(text_string_to_metric_families(response.text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def test_metrics_count_what_was_sent(served: Served) -> None:
    row = served.row

    def now() -> tuple[float, ...]:
        count = partial(served.counted, row.answering, "serving_requests_total", method="POST")
        runs = sum(
            served.counted(name, "serving_inference_duration_seconds_count", stage="infer") for name in row.predictors
        )
        return (
            count(route=row.route, code="200"),
            count(route="/v2/models/{model}/infer", code="400"),
            served.counted(row.answering, "serving_request_duration_seconds_count", route=row.route),
            float(runs > 0),
        )

    before = now()
    for _ in range(2):
        served.answered(row.requests[0])
    for _ in range(3):
        assert served.infer_json({}).status_code == 400
    expected = [was + gained for was, gained in zip(before[:3], (2, 3, 2), strict=True)]
    eventually(lambda: list(now()) == [*expected, 1.0], SETTLED, f"counted {expected}, found {now()}")


def test_inferences_are_counted_where_they_happen(served: Served) -> None:
    def runs() -> dict[str, float]:
        name = "serving_inference_duration_seconds_count"
        return {one: served.counted(one, name, stage="infer") for one in served.row.predictors}

    before = runs()
    served.answered(served.row.requests[0])
    after = eventually(lambda: (now := runs()) != before and now, SETTLED, "an inference is counted")
    assert all(after[name] >= before[name] for name in before)


def test_every_metric_is_there_from_the_start(served: Served) -> None:
    for name, base in served.own_instances().items():
        found = {metric for metric, _ in samples(base)}
        wanted = NAMES | (OF_PREDICTORS if name.rstrip("-123") in served.row.predictors else set())
        assert wanted <= found, name


def test_metrics_come_as_openmetrics_to_those_who_ask_for_it(served: Served) -> None:
    response = served.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert "serving_requests" in {family.name for family in openmetrics.text_string_to_metric_families(response.text)}


def test_no_label_takes_a_value_that_a_caller_chooses(served: Served) -> None:
    base = served.instances(served.row.answering)[0]
    model = served.row.inference.model

    def ask(name: str) -> None:
        for method, path in (
            ("GET", f"/nowhere/{name}"), ("GET", f"/v2/models/{name}"), ("POST", f"/v2/models/{name}/infer"),
            ("POST", f"/v2/models/{model}/versions/{name}/infer"), ("POST", f"/v2/repository/models/{name}/load"),
            ("POST", f"{served.row.route.replace('{model}', name)}?{name}=1"), ("BREW", f"/{name}"),
        ):  # fmt: skip
            client().request(method, base + path, headers={"X-Request-ID": name}, timeout=30)

    ask("chosen-0")
    before = samples(base).keys()
    for number in range(1, 7):
        ask(f"chosen-{number}")
    found = samples(base).keys()
    assert not [labels for _, labels in found if "chosen" in str(labels)]
    assert found == before


def lines_of(served: Served, service: str, request_id: str) -> Lines:
    return log_lines(served.stack, service, event="request", request_id=request_id)


def until(found: Callable[[], Any], what: str) -> Any:
    return eventually(found, SETTLED, what)


def test_one_request_id_and_one_trace_go_through_every_service(served: Served) -> None:
    identity = f"through-{served.row.id}"
    trace = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    response = served.answered(served.row.requests[0], **{"X-Request-ID": identity}, **trace)
    assert response.headers["X-Request-ID"] == identity
    once = {served.row.answering} | ({served.row.entry} - {"balancer"})
    for service in dict.fromkeys(name.rstrip("-123") if served.balanced else name for name in logging_services(served)):
        lines = until(partial(lines_of, served, service, identity), f"{service} has logged it")
        assert {line["trace_id"] for line in lines} == {TRACE}, service
        assert {line["service"] for line in lines} == {service}, service
        assert len(lines) == 1 or service not in once


def logging_services(served: Served) -> list[str]:
    """The services that a request of the table's first kind goes through."""
    services = [served.row.answering, *served.row.predictors]
    return [*services, *(name for name in served.row.own_services if name in ("prep", "classifiers", "proxy"))]


def test_the_access_line_tells_the_request(served: Served) -> None:
    for path, status in ((served.row.requests[0].path, "200"), ("/nowhere", "404")):
        identity = f"line-{status}-{served.row.id}"
        given = {"X-Request-ID": identity}
        found = served.send(served.row.requests[0], **given) if status == "200" else served.get(path, headers=given)
        (line,) = until(partial(lines_of, served, served.row.answering, identity), "the line is written")
        assert (line["pattern"], line["status"]) == (served.row.pattern, status)
        assert line["route"] == (served.row.route if status == "200" else "unmatched")
        assert line["bytes_in"] == len(found.request.content)
        assert line["bytes_out"] == len(found.content)
        assert line["milliseconds"] > 0
        assert ("error" in line) == (status != "200")
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])


def test_every_line_of_every_service_is_json_and_holds_no_secret(served: Served) -> None:
    headers = {"Authorization": f"Bearer {SECRET}", "Cookie": f"session={SECRET}", "X-Request-ID": "with-a-secret"}
    served.answered(served.row.requests[0], **headers)
    served.get(f"/%0a%22%7b?token={SECRET}")
    until(partial(lines_of, served, served.row.answering, "with-a-secret"), "the line is written")
    for service in served.row.own_services:
        texts = [line.partition("| ")[2] for line in served.stack.logs(service)]
        assert texts, service
        for text in texts:
            assert json.loads(text)["event"], f"{service}: {text}"
            assert SECRET not in text, service
