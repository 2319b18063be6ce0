"""The composing client over REST, against a real server that answers, fails, stalls and hangs up."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from common.client import (
    ClientLimits,
    ModelMetadata,
    PredictorClient,
    PredictorRequest,
    PredictorResponse,
    RetryableError,
)
from common.errors import (
    DeadlineExceeded,
    UpstreamFailed,
)
from common.protocol.tensors import TensorSpec
from common.request.deadline import HEADER as TIMEOUT
from common.request.deadline import Deadline
from tests.unit.common.client.http_predictor import (
    HttpPredictor,
    Request,
    X,
    double,
    doubled,
    infer,
    stall,
    status,
    stopwatch,
)


async def test_arrays_are_returned_with_the_model_and_version_that_made_them(predictor: HttpPredictor) -> None:
    async with PredictorClient(predictor.url, model="m") as client:
        result = await infer(client)
    np.testing.assert_array_equal(result.outputs["y"], X * 2)
    assert set(result.outputs) == {"y", "rows"}
    assert (result.model_name, result.model_version, result.server_timing) == ("m", "3", "model;dur=1.5")
    assert not result.outputs["y"].flags.owndata, "outputs are views of the answer"


async def test_only_the_wanted_outputs_are_asked_for(predictor: HttpPredictor) -> None:
    async with PredictorClient(predictor.url, model="m") as client:
        result = await client.infer({"x": X}, outputs=["rows"], deadline=Deadline.after(2))
    assert set(result.outputs) == {"rows"}


async def test_an_array_of_any_layout_and_size_arrives_as_it_is(predictor: HttpPredictor) -> None:
    big = np.random.default_rng(1).random((700, 1000), dtype=np.float32)
    async with PredictorClient(predictor.url, model="m") as client:
        for array in (big, big.T, big[::2, ::3], big[:1]):
            result = await client.infer({"x": array}, deadline=Deadline.after(5))
            np.testing.assert_array_equal(result.outputs["y"], array * 2)


async def test_a_model_and_version_are_quoted_into_the_path(predictor: HttpPredictor) -> None:
    async with PredictorClient(f"{predictor.url}/behind/", model="a b/c", version="7") as client:
        await infer(client)
    assert predictor.requests[0].path == "/behind/v2/models/a%20b%2Fc/versions/7/infer"


async def test_a_connection_serves_call_after_call(predictor: HttpPredictor) -> None:
    async with PredictorClient(predictor.url, model="m") as client:
        for _ in range(5):
            await infer(client)
        assert {request.connection for request in predictor.requests} == {1}
        await asyncio.gather(*(infer(client) for _ in range(4)))
        await asyncio.gather(*(infer(client) for _ in range(4)))
    assert len(predictor.connections) == 4


async def test_an_idle_connection_is_not_reused_after_its_limit(predictor: HttpPredictor) -> None:
    async with PredictorClient(predictor.url, model="m", limits=ClientLimits(idle_seconds=0.0)) as client:
        await infer(client)
        await infer(client)
    assert [request.connection for request in predictor.requests] == [1, 2]


async def test_context_is_passed_on_without_what_could_end_a_line(predictor: HttpPredictor) -> None:
    context = {"X-Request-ID": "r-1", "traceparent": "00-a-b-01", "tracestate": "a\r\nEvil: 1", TIMEOUT: "99"}
    async with PredictorClient(predictor.url, model="m") as client:
        await client.infer({"x": X}, deadline=Deadline.after(2), headers=context)
    headers = predictor.requests[0].headers
    assert (headers["x-request-id"], headers["traceparent"]) == ("r-1", "00-a-b-01")
    assert not {"evil", "tracestate"} & set(headers)
    assert 1.5 < float(headers[TIMEOUT.lower()]) <= 2


async def test_no_proxy_of_the_environment_is_used(predictor: HttpPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with PredictorClient(predictor.url, model="m") as client:
        await infer(client)


async def test_each_attempt_sends_the_remaining_time(predictor: HttpPredictor) -> None:
    predictor.replies = [status(503, Retry_After=0.1), status(503, Retry_After=0.1)]
    async with PredictorClient(predictor.url, model="m") as client:
        await infer(client, 5.0)
    left = [float(request.headers[TIMEOUT.lower()]) for request in predictor.requests]
    assert len(left) == 3
    assert 5.0 >= left[0] >= left[1] + 0.1 >= left[2] + 0.2


async def test_a_slow_predictor_is_given_up_at_the_deadline(predictor: HttpPredictor) -> None:
    predictor.usual = stall
    async with PredictorClient(predictor.url, model="m") as client, stopwatch() as seconds:
        with pytest.raises(DeadlineExceeded, match="m did not respond"):
            await infer(client, 0.2)
        assert seconds() < 0.25
    assert len(predictor.requests) == 1


async def test_a_spent_deadline_makes_no_call(predictor: HttpPredictor) -> None:
    async with PredictorClient(predictor.url, model="m") as client:
        for left in (-1.0, 0.0, 0.0005):
            with pytest.raises(DeadlineExceeded, match="before predictor m was called"):
                await infer(client, left)
    assert not predictor.connections


async def test_a_cancelled_call_is_dropped_on_the_wire(predictor: HttpPredictor) -> None:
    left = asyncio.Event()

    async def notice(request: Request) -> None:
        await request.until_caller_left()
        left.set()

    predictor.replies = [notice]
    async with PredictorClient(predictor.url, model="m") as client:
        call = asyncio.create_task(infer(client, 30))
        await predictor.received(1)
        async with stopwatch() as seconds:
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.wait_for(left.wait(), 2)
            assert seconds() < 0.05
        await infer(client)  # and the client goes on
    assert [request.connection for request in predictor.requests] == [1, 2]


async def test_answers_in_any_framing_of_http_are_read(predictor: HttpPredictor) -> None:
    async def chunked_after_an_interim_answer(request: Request) -> None:
        body, header = doubled(request)
        await request.send(b"HTTP/1.1 103 Early\r\nContent-Length: 5\r\nX: 1\r\n\r\n")
        await request.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n")
        await request.send(f"inference-header-content-LENGTH: {header}\r\n\r\n".encode())
        for at in range(0, len(body), 7):
            await request.send(b"%x\r\n%b\r\n" % (len(body[at : at + 7]), body[at : at + 7]))
        await request.send(b"0\r\n\r\n")

    async def last_on_its_connection(request: Request) -> None:
        body, header = doubled(request)
        await request.answer(200, body, Inference_Header_Content_Length=header, Connection="close")

    async def with_something_behind_it(request: Request) -> None:
        await double(request)
        await request.answer(200, b"nobody asked")

    predictor.replies = [chunked_after_an_interim_answer, last_on_its_connection, with_something_behind_it]
    async with PredictorClient(predictor.url, model="m", limits=ClientLimits(attempts=1)) as client:
        for _ in range(4):
            np.testing.assert_array_equal((await infer(client)).outputs["y"], X * 2)
            await asyncio.sleep(0.02)  # what comes unasked comes now
    assert [request.connection for request in predictor.requests] == [1, 1, 2, 3]


async def test_ready_and_metadata_are_asked_of_the_predictor(predictor: HttpPredictor) -> None:
    tensor = b'{"name":"x","datatype":"FP32","shape":[-1,3]}'
    body = b'{"name":"m","versions":["1","2"],"platform":"p","inputs":[%b],"outputs":[]}' % tensor

    async def reply(request: Request) -> None:
        await request.answer(503 if request.path.endswith("/ready") else 200, body)

    predictor.usual = reply
    async with PredictorClient(predictor.url, model="m") as client:
        assert not await client.ready(deadline=Deadline.after(1))
        found = await client.metadata(deadline=Deadline.after(1))
        assert found == ModelMetadata("m", ("1", "2"), (TensorSpec("x", "FP32", (-1, 3)),), ())
        predictor.usual = status(200)
        assert await client.ready(deadline=Deadline.after(1))
        with pytest.raises(UpstreamFailed, match="its metadata is not valid"):
            await client.metadata(deadline=Deadline.after(1))
        predictor.usual = stall
        assert not await client.ready(deadline=Deadline.after(0.05))


async def test_a_custom_transport_is_passed_as_an_argument() -> None:
    class Flaky:
        calls = 0

        async def infer(self, request: PredictorRequest) -> PredictorResponse:
            self.calls += 1
            if self.calls == 1:
                raise RetryableError(UpstreamFailed("not now"))
            return PredictorResponse(dict(request.inputs), "fake", "1")

        async def ready(self, deadline: Deadline) -> bool:
            return True

        async def metadata(self, deadline: Deadline) -> ModelMetadata:
            return ModelMetadata("fake", (), (), ())

        async def close(self) -> None:
            self.calls = -1

        def pinned(self, version: str) -> Flaky:
            return self

    transport = Flaky()
    async with PredictorClient("", model="m", transport=transport) as client:
        assert (await infer(client)).model_name == "fake"
        assert transport.calls == 2
    assert transport.calls == -1


@pytest.mark.parametrize("url", ["ftp://host", "127.0.0.1:80", "", "http://"])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected http://"):
        PredictorClient(url, model="m")
