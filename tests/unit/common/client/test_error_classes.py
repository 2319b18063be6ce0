"""Every error of a predictor is the same class to the client's caller, over HTTP and over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import grpc
import grpc.aio
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]  # as clients of others read them

from common import errors
from common.client import ClientLimits, PredictorClient
from common.endpoints.backend import InferRequest
from common.endpoints.oip_grpc import serve_grpc
from common.endpoints.oip_rest import InferRoute
from common.errors import FieldError, InvalidInput, MethodNotAllowed, ServingError
from common.http.fastapi_app import build_app
from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc import oip_pb2_grpc as pb_grpc
from common.protocol.grpc.statuses import KEY, decode_details
from common.request.deadline import Deadline
from tests.unit.common.endpoints.fake_backend import FakeBackend, FakeModel, area
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.ports import free_port
from tests.unit.common.serving import served

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServingError)]
OTHER = {
    # the proxy's own key, address or share: its caller can do nothing about them
    "Unauthorized": "UpstreamFailed", "Forbidden": "UpstreamFailed", "MethodNotAllowed": "UpstreamFailed",
    "NotFound": "UpstreamModelNotFound", "TooManyRequests": "Overloaded",
    # the service that failed is another one than the proxy
    "ServingError": "UpstreamFailed", "InternalError": "UpstreamFailed", "ModelFailed": "UpstreamFailed",
    "ClientDisconnected": "UpstreamFailed",
    # of a proxy behind the proxy: the model that is not found is none of this proxy's
    "UpstreamModelNotFound": "UpstreamFailed",
}  # fmt: skip
WIDE = "字" * 900
FIELDS = [FieldError("inputs[0].shape", "expected 3"), *(FieldError(f"inputs[{index}]", WIDE) for index in range(1, 9))]
ROW = {"x": np.ones((1, 2), np.float32)}


class FailingBackend(FakeBackend):
    """The name of a model is the class of the error that it raises."""

    async def infer(self, request: InferRequest[FakeModel]) -> NoReturn:
        kind = getattr(errors, request.model.name)
        if kind is MethodNotAllowed:
            raise MethodNotAllowed("it failed", allowed="")
        raise kind("it failed", retry_after=2, fields=FIELDS if issubclass(kind, InvalidInput) else ())


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    models = [FakeModel(kind.__name__, area().inputs, area().outputs, area().run) for kind in KINDS]
    backend, service, port = FailingBackend(*models), CapturedLog().service(max_message_bytes=100_000), free_port()
    resources: Any = lambda: serve_grpc(backend, service, "127.0.0.1", port)  # noqa: E731
    app = build_app(service, routers=[], direct=[InferRoute(backend)], resources=resources)
    with served(app) as running:
        yield {"http": running.port, "grpc": port}


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_an_error_comes_out_as_it_was_sent(ports: dict[str, int], scheme: str, kind: type[ServingError]) -> None:
    url, name = f"{scheme}://127.0.0.1:{ports[scheme]}", kind.__name__
    async with PredictorClient(url, model=name, limits=ClientLimits(attempts=1)) as client:
        with pytest.raises(ServingError, match="it failed") as caught:
            await client.infer(ROW, deadline=Deadline.after(20))
    error = caught.value
    assert type(error).__name__ == OTHER.get(name, name)
    assert error.fields[:1] == (tuple(FIELDS[:1]) if issubclass(kind, InvalidInput) else ())
    later = isinstance(error, errors.Overloaded | errors.NotReady)
    assert error.retry_after == (2 if later else None)


async def test_a_message_that_the_predictor_does_not_take_is_too_large(ports: dict[str, int]) -> None:
    async with PredictorClient(f"grpc://127.0.0.1:{ports['grpc']}", model="ServingError") as client:
        with pytest.raises(errors.PayloadTooLarge, match="larger than max"):
            await client.infer({"x": np.ones((20_000, 2), np.float32)}, deadline=Deadline.after(20))


async def test_the_details_are_those_of_google_rpc(ports: dict[str, int]) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{ports['grpc']}") as channel:
        stub: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        call = stub.ModelInfer(pb.ModelInferRequest(model_name="PayloadTooLarge" + WIDE))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    raw = dict(caught.value.trailing_metadata())[KEY]
    status = status_pb2.Status.FromString(raw)
    assert (status.code, status.message) == (grpc.StatusCode.NOT_FOUND.value[0], caught.value.details())
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("NOT_FOUND", "serving-patterns")


@pytest.mark.parametrize("raw", [None, "text", b"", b"\xff\xff", b"\x08\x03"])
def test_details_of_others_are_none(raw: object) -> None:
    assert decode_details(raw) is None
