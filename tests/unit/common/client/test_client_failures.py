"""The composing client over REST, against a real server that fails, hangs up or gives nonsense."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from time import monotonic

import pytest
import pytest_asyncio

from common.client import ClientLimits, PredictorClient
from common.errors import (
    DeadlineExceeded,
    FieldError,
    InvalidInput,
    Overloaded,
    PayloadTooLarge,
    PreprocessingMismatch,
    ServingError,
    UnsupportedMedia,
    UpstreamFailed,
    UpstreamModelNotFound,
)
from common.request.deadline import Deadline
from tests.unit.common.client.http_predictor import (
    HttpPredictor,
    Reply,
    Request,
    X,
    double,
    free_port,
    infer,
    raw,
    reset,
    stall,
    status,
)


@pytest_asyncio.fixture
async def predictor() -> AsyncIterator[HttpPredictor]:
    async with HttpPredictor().running() as running:
        yield running


async def test_a_connection_that_the_server_closed_costs_no_retry(predictor: HttpPredictor) -> None:
    async with PredictorClient(predictor.url, model="m", limits=ClientLimits(attempts=1)) as client:
        await infer(client)
        predictor.connections[0].close()
        await predictor.connections[0].wait_closed()
        await asyncio.sleep(0.02)  # one turn for the client to read the end of the stream
        await infer(client)
    assert [request.connection for request in predictor.requests] == [1, 2]


async def test_a_predictor_that_starts_before_the_retry_is_reached() -> None:
    port, predictor = free_port(), HttpPredictor()
    limits = ClientLimits(attempts=20, retry_reserve=20, backoff_seconds=0.05, max_backoff_seconds=0.1)
    async with PredictorClient(f"http://127.0.0.1:{port}", model="m", limits=limits) as client:
        call = asyncio.create_task(infer(client))
        await asyncio.sleep(0.1)
        assert not call.done()
        async with predictor.running(port):
            await call


async def test_a_predictor_that_is_down_is_named_and_its_address_is_not() -> None:
    async with PredictorClient(f"http://127.0.0.1:{free_port()}", model="m", name="iris") as client:
        with pytest.raises(UpstreamFailed, match=r"^predictor iris: connection refused$"):
            await infer(client)
        assert not await client.ready(deadline=Deadline.after(1))


async def test_an_unknown_host_is_an_upstream_failure() -> None:
    async with PredictorClient("http://nowhere.invalid", model="m") as client:
        with pytest.raises(UpstreamFailed, match="predictor m: its name does not resolve"):
            await infer(client)


@pytest.mark.parametrize("failure", [status(502), status(503), reset, raw(b"")], ids=["502", "503", "reset", "closed"])
async def test_what_is_safe_to_repeat_is_repeated(predictor: HttpPredictor, failure: Reply) -> None:
    predictor.replies = [failure, failure]
    async with PredictorClient(predictor.url, model="m") as client:
        await infer(client)
    assert len(predictor.requests) == 3


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (400, InvalidInput),
        (404, UpstreamModelNotFound),
        (409, PreprocessingMismatch),
        (413, PayloadTooLarge),
        (415, UnsupportedMedia),
        (422, InvalidInput),
        (429, Overloaded),
        (500, UpstreamFailed),
        (504, DeadlineExceeded),
        (302, UpstreamFailed),
        (204, UpstreamFailed),
    ],
)
async def test_what_is_not_safe_or_no_use_is_never_repeated(
    predictor: HttpPredictor, code: int, error: type[ServingError]
) -> None:
    predictor.usual = raw(b"HTTP/1.1 204 No\r\n\r\n") if code == 204 else status(code)
    async with PredictorClient(predictor.url, model="m") as client:
        with pytest.raises(error, match=r"204|these are the words") as caught:
            await infer(client)
    assert type(caught.value) is error
    assert len(predictor.requests) == 1
    assert isinstance(caught.value, InvalidInput) or "predictor m" in caught.value.detail


async def test_a_refusal_names_the_fields_that_the_predictor_names(predictor: HttpPredictor) -> None:
    wrong = [{"field": f"x[{index}]", "reason": "is " + "long" * 1000} for index in range(100)]
    predictor.replies = [
        refusal({"error": "two are wrong", "errors": wrong[:2]}),
        refusal({"detail": "", "errors": wrong}),
    ]
    async with PredictorClient(predictor.url, model="m") as client:
        with pytest.raises(InvalidInput, match="two are wrong") as caught:
            await infer(client)
        assert caught.value.fields == tuple(FieldError(one["field"], one["reason"][:1000]) for one in wrong[:2])
        with pytest.raises(InvalidInput) as caught:
            await infer(client)
    assert len(caught.value.fields) == 20


@pytest.mark.parametrize("told", [7, {"error": 7}, {"error": "no", "errors": [1]}, {"detail": [{"loc": ["body"]}]}])
async def test_a_refusal_in_another_form_is_quoted_as_it_is(predictor: HttpPredictor, told: object) -> None:
    predictor.usual = refusal(told)
    async with PredictorClient(predictor.url, model="m") as client:
        with pytest.raises(InvalidInput) as caught:
            await infer(client)
    assert (caught.value.detail, caught.value.fields) == (json.dumps(told), ())


def refusal(told: object) -> Reply:
    async def reply(request: Request) -> None:
        await request.answer(400, json.dumps(told).encode())

    return reply


async def test_a_client_that_does_not_wait_for_retry_after_fails_at_once(predictor: HttpPredictor) -> None:
    predictor.replies = [status(503, Retry_After=0.1), status(503)]
    async with PredictorClient(predictor.url, model="m", limits=ClientLimits(wait_for_retry_after=False)) as client:
        with pytest.raises(Overloaded):
            await infer(client)
        await infer(client)  # without Retry-After it retries as usual
    assert len(predictor.requests) == 3


@pytest.mark.parametrize("code", [503, 429])
@pytest.mark.parametrize("pause", ["9" * 400, "9" * 400 + ".5", "3601"], ids=len)
async def test_a_pause_of_more_than_an_hour_is_not_passed_on(predictor: HttpPredictor, code: int, pause: str) -> None:
    predictor.usual = status(code, Retry_After=pause)
    async with PredictorClient(predictor.url, model="m", limits=ClientLimits(attempts=1)) as client:
        with pytest.raises(ServingError) as caught:
            await infer(client)
    assert caught.value.retry_after in (None, 1.0)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it",
        b"HTTP/1.1 200 OK\r\nConte",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nan answer of no stated length",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nnonsens",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nInference-Header-Content-Length: x\r\n\r\n{}",
        b'HTTP/1.1 200 OK\r\nContent-Length: 52\r\n\r\n{"model_name":"m","model_version":"1","outputs":[7]}',
    ],
)
async def test_a_broken_answer_is_an_upstream_failure_and_not_repeated(predictor: HttpPredictor, answer: bytes) -> None:
    predictor.usual = raw(answer)
    async with PredictorClient(predictor.url, model="m") as client:
        with pytest.raises(UpstreamFailed, match=r"^predictor m"):
            await infer(client)
    assert len(predictor.requests) == 1


async def test_a_missing_output_is_an_upstream_failure(predictor: HttpPredictor) -> None:
    async def other(request: Request) -> None:
        request.body = request.body.replace(b'"outputs":[{"name":"z"}]', b'"outputs":[{"name":"y"}]')
        await double(request)

    predictor.usual = other
    async with PredictorClient(predictor.url, model="m") as client:
        with pytest.raises(UpstreamFailed, match="m lacks the requested output 'z'; it has: y"):
            await client.infer({"x": X}, outputs=["z"], deadline=Deadline.after(2))


@pytest.mark.parametrize("framing", [b"Content-Length: 50000000", b"Transfer-Encoding: chunked", b"X: y"])
async def test_an_oversized_answer_is_cut_off(predictor: HttpPredictor, framing: bytes) -> None:
    sent = 0

    async def endless(request: Request) -> None:
        nonlocal sent
        await request.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        while True:
            await request.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            sent += 65536

    predictor.usual = endless
    async with PredictorClient(predictor.url, model="m", limits=ClientLimits(max_response_bytes=1 << 20)) as client:
        with pytest.raises(UpstreamFailed, match="m: its response is larger than the 1048576 bytes"):
            await infer(client)
    assert sent < 20 << 20, "no more than the buffers of both sides"


async def test_retry_after_is_honoured_where_it_fits(predictor: HttpPredictor) -> None:
    predictor.replies = [status(503, Retry_After=0.3)]
    async with PredictorClient(predictor.url, model="m") as client:
        await infer(client)
    first, second = predictor.requests
    assert second.at - first.at >= 0.3


async def test_retry_after_beyond_the_deadline_is_handed_on_at_once(predictor: HttpPredictor) -> None:
    predictor.usual = status(503, Retry_After=7)
    async with PredictorClient(predictor.url, model="m") as client:
        started = monotonic()
        with pytest.raises(Overloaded, match="predictor m answered 503: these are the words") as caught:
            await infer(client, 1.0)
        assert monotonic() - started < 0.5
    assert caught.value.retry_after == 7
    assert len(predictor.requests) == 1


async def test_an_outage_is_not_multiplied_by_retries(predictor: HttpPredictor) -> None:
    predictor.usual = status(503)
    limits = ClientLimits(retry_share=0.2, retry_reserve=4, backoff_seconds=0.0)
    async with PredictorClient(predictor.url, model="m", limits=limits) as client:
        for _ in range(100):
            with pytest.raises(Overloaded):
                await infer(client)
    assert 115 <= len(predictor.requests) <= 124


async def test_closing_ends_calls_under_way(predictor: HttpPredictor) -> None:
    predictor.usual = stall
    client = PredictorClient(predictor.url, model="m", limits=ClientLimits(attempts=1))
    call = asyncio.create_task(infer(client))
    await predictor.received(1)
    await client.close()
    with pytest.raises(UpstreamFailed):
        await call
