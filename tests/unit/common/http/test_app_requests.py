"""What stands around every route: ids, trace, deadline, error bodies, the access line, the drain."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from common.http.app import plain_path
from tests.unit.common.http.example_app import example_app
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import wait_until
from tests.unit.common.serving import RunningServer, served

TRACE, PARENT = "ab" * 16, "cd" * 8


class Site:
    """The app on a real server, a client of it and its log."""

    def __init__(self, running: RunningServer, client: httpx.Client, logged: CapturedLog) -> None:
        self.running, self.client, self.logged = running, client, logged

    def line(self, answer: httpx.Response, event: str = "request") -> dict[str, Any]:
        """The access line of an answer, or another line of its request; it may come a moment after the answer."""
        return self.line_of(answer.headers["x-request-id"], event)

    def line_of(self, request_id: str, event: str = "request") -> dict[str, Any]:
        def lines() -> list[dict[str, Any]]:
            return [line for line in self.logged.lines(event) if line.get("request_id") == request_id]

        wait_until(lines, f"the line of {request_id}")
        return lines()[-1]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    logged = CapturedLog()
    app = example_app(logged.service(max_body_bytes=1000, request_timeout_seconds=20))
    with served(app) as running, httpx.Client(base_url=running.url, timeout=20) as client:
        yield Site(running, client, logged)


BOTH_KINDS = pytest.mark.parametrize(("method", "path"), [("GET", "/hello/you"), ("POST", "/direct/echo")])


@BOTH_KINDS
def test_a_request_id_is_echoed_and_logged(site: Site, method: str, path: str) -> None:
    answer = site.client.request(method, path, headers={"X-Request-ID": "order-7/a.b:c+d=e@f_g"})
    assert answer.headers["x-request-id"] == "order-7/a.b:c+d=e@f_g"
    assert site.line(answer)["route"] != "unmatched"


@BOTH_KINDS
@pytest.mark.parametrize("given", ["", "a b", "a\tb", '"},{"', "<script>", "é", "a" * 129, "a;b"])
def test_an_unsafe_request_id_is_replaced(site: Site, method: str, path: str, given: str) -> None:
    answer = site.client.request(method, path, headers={b"X-Request-ID": given.encode()})
    assert answer.headers["x-request-id"] == site.line(answer)["trace_id"]
    assert len(answer.headers["x-request-id"]) == 32


@BOTH_KINDS
def test_a_trace_is_continued_with_a_span_of_its_own(site: Site, method: str, path: str) -> None:
    answer = site.client.request(method, path, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    version, trace, span, flags = answer.headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "00")
    assert span != PARENT
    assert site.line(answer)["trace_id"] == TRACE


@BOTH_KINDS
def test_every_answer_says_where_the_time_went(site: Site, method: str, path: str) -> None:
    answer = site.client.request(method, path)
    name, _, milliseconds = answer.headers["server-timing"].rpartition(";dur=")
    assert name == "total"
    assert 0 < float(milliseconds) < 20_000


def test_the_access_line_tells_the_route_and_not_the_path(site: Site) -> None:
    line = site.line(site.client.get("/hello/secret?token=secret"))
    assert (line["method"], line["route"], line["status"], line["level"]) == ("GET", "/hello/{name}", "200", "info")
    assert (line["pattern"], line["service"]) == ("web_single", "api")
    assert line["bytes_out"] > 0
    assert "secret" not in json.dumps(line)
    line = site.line(site.client.post("/direct/echo", content=b"12345"))
    assert (line["route"], line["bytes_in"], line["bytes_out"]) == ("/direct/{what}", 5, 5)


def test_a_deadline_is_taken_over_up_to_the_services_own(site: Site) -> None:
    for given, least, most in (("5", 4, 5), ("0.9", 0, 0.9), ("1e9", 19, 20), (None, 19, 20)):
        headers = {} if given is None else {"X-Request-Timeout-Seconds": given}
        assert least < float(site.client.post("/direct/left", headers=headers).content) <= most


@BOTH_KINDS
@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan", "inf", ""])
def test_an_invalid_or_expired_timeout_is_refused(site: Site, method: str, path: str, given: str) -> None:
    answer = site.client.request(method, path, headers={"X-Request-Timeout-Seconds": given})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "X-Request-Timeout-Seconds"


def problem(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["instance"] == answer.url.path
    return body


def plain(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/json"
    (name,) = answer.json()
    assert name == "error"
    text: str = answer.json()["error"]
    return text


def test_a_refusal_is_a_problem_that_names_the_field(site: Site) -> None:
    answer = site.client.post("/direct/refuse")
    body = problem(answer)
    assert body["errors"] == [{"field": "instances[0]", "reason": "expected a number"}]
    assert (body["type"], body["title"]) == ("about:blank", "Invalid input")
    assert site.line(answer)["error"] == body["detail"] == "instances[0]: expected a number"


def test_under_the_inference_protocol_an_error_is_one_text(site: Site) -> None:
    assert plain(site.client.post("/v2/direct/refuse")) == "instances[0]: expected a number"
    assert plain(site.client.get("/v2/nowhere")) == "this service has no such path; GET /docs lists its paths"


def test_a_client_that_accepts_problem_json_gets_the_fields_too(site: Site) -> None:
    body = problem(site.client.post("/v2/direct/refuse", headers={"Accept": "*/*, application/problem+json"}))
    assert body["errors"] == [{"field": "instances[0]", "reason": "expected a number"}]
    assert plain(site.client.post("/v2/direct/refuse", headers={"Accept": "application/json, */*"}))


def test_a_model_of_a_body_is_checked_by_field(site: Site) -> None:
    body = problem(site.client.post("/items", json=[{"size": 1}, {"size": "x"}, {"size": -1}]))
    assert [error["field"] for error in body["errors"]] == ["[1].size", "[2].size"]
    assert problem(site.client.post("/items", content=b"{"))["status"] == 400
    assert site.client.post("/items", json=[{"size": 1}, {"size": 2}]).json() == 3


def test_an_unknown_path_is_404_and_a_wrong_method_405_with_the_allowed_ones(site: Site) -> None:
    answer = site.client.get("/nowhere")
    assert problem(answer)["status"] == 404
    assert site.line(answer)["route"] == "unmatched"
    for method, path, allowed in (("POST", "/hello/you", "GET"), ("GET", "/direct/echo", "POST")):
        answer = site.client.request(method, path)
        assert problem(answer)["status"] == 405
        assert answer.headers["allow"] == allowed
    assert site.client.head("/direct/echo").content == b""


def test_an_unknown_method_adds_no_label(site: Site) -> None:
    assert site.client.request("INVENTED", "/hello/you").status_code == 400
    assert "INVENTED" not in site.client.get("/metrics").text


def test_a_request_refused_for_load_gets_retry_after(site: Site) -> None:
    for answer, seconds in ((site.client.post("/direct/busy"), "2"), (site.client.get("/v2/loading"), "1")):
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == seconds


@pytest.mark.parametrize(("method", "path"), [("GET", "/fail"), ("POST", "/direct/fail")])
def test_a_failure_is_answered_without_its_text_and_logged_with_its_traceback(
    site: Site, method: str, path: str
) -> None:
    answer = site.client.request(method, path)
    body = problem(answer)
    assert answer.status_code == 500
    assert body["detail"] == f"internal error; see the server log, request id {body['request_id']}"
    failure, request = site.line(answer, "unhandled error"), site.line(answer)
    assert failure["level"] == "error"
    assert 'raise RuntimeError("something broke")' in failure["exception"]
    assert (request["status"], request["level"]) == ("500", "error")


def test_an_error_that_cannot_be_written_is_answered_as_an_internal_one(site: Site) -> None:
    answer = site.client.post("/direct/never")
    assert answer.status_code == 500
    assert site.line(answer, "no response for an error")["error"].startswith("Overloaded(")
    assert site.line(answer)["error"] == problem(answer)["detail"]


def test_a_slash_at_the_end_is_nothing_under_the_protocol(site: Site) -> None:
    assert site.client.post("/v2/direct/echo/", content=b"x").content == b"x"
    assert site.client.get("/v2/loading/").status_code == 503
    assert site.client.get("/hello/you/").status_code == 404


def test_the_document_describes_routes_of_both_kinds(site: Site) -> None:
    document = site.client.get("/openapi.json").json()
    assert {"/hello/{name}", "/items", "/direct/{what}", "/livez", "/readyz", "/metrics"} <= document["paths"].keys()
    assert {"Item", "Direct"} <= document["components"]["schemas"].keys()


def test_health_endpoints_give_reasons(site: Site) -> None:
    health = site.running.app.service.health
    assert site.client.get("/readyz").json() == {"status": "ok"}
    wrong: list[str] = []
    health.add_readiness_check(lambda: "no model" if "unready" in wrong else None)
    health.add_liveness_check(lambda: "stuck" if "dead" in wrong else None)
    wrong.append("unready")
    answer = site.client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable", "reasons": ["no model"]})
    assert site.client.get("/livez").status_code == 200
    wrong.append("dead")
    for path in ("/livez", "/readyz"):
        assert site.client.get(path).json() == {"status": "unavailable", "reasons": ["stuck"]}
    wrong.clear()


def test_a_route_sees_that_its_client_has_disconnected(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.running.port)) as caller:
        caller.sendall(b"POST /direct/gone HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nX-Request-ID: leaver\r\n\r\nx")
        wait_until(lambda: site.running.app.service.metrics.in_progress == 1, "the request")
    assert site.line_of("leaver")["error"] == "the caller left"
    assert site.running.app.service.metrics.in_progress == 0


def test_draining_says_unready_and_closes_connections_and_answers_all_the_same() -> None:
    logged = CapturedLog()
    app = example_app(logged.service(drain_delay_seconds=0.5))
    with served(app) as running, httpx.Client(base_url=running.url, timeout=20) as client:
        assert "connection" not in client.get("/readyz").headers
        running.drain()
        answer = client.get("/readyz")
        assert (answer.status_code, answer.headers["connection"]) == (503, "close")
        assert "draining" in answer.json()["reasons"][0]
        assert client.get("/livez").status_code == 200
        assert client.post("/direct/echo", content=b"x").headers["connection"] == "close"
    assert [line["event"] for line in logged.lines() if line["event"] != "request"] == ["draining", "stopped"]


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/v2/models/m/", "/v2/models/m"),
        ("/v2/models/a%2Fb/infer", "/v2/models/a%2Fb/infer"),
        ("/v2/models/a%2fb%20c/infer", "/v2/models/a%2Fb c/infer"),
        ("/v2/models/a%252Fb", "/v2/models/a%2Fb"),
        ("/samples/%E5%AD%97", "/samples/字"),
    ],
)
def test_an_escaped_slash_separates_no_parts_of_a_path(raw: str, path: str) -> None:
    assert plain_path(raw) == path
