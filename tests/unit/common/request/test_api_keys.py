"""API keys: which callers may call, over every protocol, how often, and what a log says of them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.client import PredictorClient
from common.endpoints.grpc_turns import RECEIVE_SECONDS
from common.errors import TooManyRequests, Unauthorized, UpstreamFailed
from common.protocol.grpc import oip_pb2 as pb
from common.protocol.grpc import oip_pb2_grpc as pb_grpc
from common.request.api_keys import ApiKeys, parse_keys
from common.request.context import RequestContext
from common.request.deadline import Deadline
from common.request.trace import continue_trace
from common.roles.predictor import Settings, create_process
from tests.unit.common.inference import tiny_models as tiny
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import until, wait_until
from tests.unit.common.ports import free_port
from tests.unit.common.protocol.request_bodies import body, tensor
from tests.unit.common.serving import served

KEY, OTHER = "k" * 40, "o" * 40
ROW = body(tensor("FP32", [1, 2], [1, 2]))


def entry(name: str, key: str, rate: str = "") -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}{rate}"


class Keyed:
    """A served predictor that needs a key; `ada` is the tenant of KEY."""

    def __init__(self, url: str, grpc_port: int, logged: CapturedLog) -> None:
        self.url, self.grpc_port, self.logged = url, grpc_port, logged

    def ask(
        self, verb: str, path: str, key: str = "", content: bytes = b"", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        sent = {"Content-Type": "application/json", **(headers or {})} | (
            {"Authorization": f"Bearer {key}"} if key else {}
        )
        return httpx.request(verb, self.url + path, content=content, headers=sent, timeout=20)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    root = tmp_path_factory.mktemp("models")
    tiny.write(root, tiny.total())
    logged, port = CapturedLog(), free_port()
    asked = {"model": "tiny", "model_repository": root, "grpc_port": port, "api_keys": entry("ada", KEY)}
    app = create_process(Settings.model_validate({**asked, "cors_origins": "https://shop.example"}), logged.logs).app
    with served(app) as running:
        wait_until(lambda: httpx.get(f"{running.url}/readyz").status_code == 200, "readiness")
        yield Keyed(running.url, port, logged)


@pytest.mark.parametrize(
    ("verb", "path", "content"),
    [("POST", "/v2/models/tiny/infer", ROW), ("GET", "/v2/models/tiny", b""), ("GET", "/metadata", b""),
     ("GET", "/openapi.json", b""),
     ("GET", "/nowhere", b"")],
)  # fmt: skip
def test_every_route_needs_a_key(keyed: Keyed, verb: str, path: str, content: bytes) -> None:
    for key in ("", OTHER):
        refused = keyed.ask(verb, path, key, content)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert "API key" in refused.text
        assert OTHER not in refused.text
    assert keyed.ask(verb, path, KEY, content).status_code == (404 if path == "/nowhere" else 200)


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready", "/", "/docs", "/page/page.js"]
)
def test_probes_and_the_files_of_the_page_need_none(keyed: Keyed, path: str) -> None:
    assert keyed.ask("GET", path).status_code == 200


def test_the_api_documentation_asks_for_the_key(keyed: Keyed) -> None:
    document = keyed.ask("GET", "/openapi.json", KEY).json()
    (name,) = document["security"][0]
    assert document["components"]["securitySchemes"][name] == {"type": "http", "scheme": "bearer"}


def test_the_name_of_the_key_is_the_tenant_in_the_log(keyed: Keyed) -> None:
    keyed.ask("GET", "/v2/models/tiny", KEY, headers={"X-Request-ID": "of-a-tenant"})
    (line,) = [line for line in keyed.logged.lines("request") if line["request_id"] == "of-a-tenant"]
    assert line["tenant"] == "ada"
    assert KEY not in str(keyed.logged.lines())


def test_grpc_takes_the_key_as_metadata(keyed: Keyed) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{keyed.grpc_port}") as channel:
        stub: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        request = pb.ModelMetadataRequest(name="tiny")
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelMetadata(request, timeout=20)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert stub.ModelMetadata(request, timeout=20, metadata=[("authorization", f"Bearer {KEY}")]).name == "tiny"
        assert stub.ServerReady(pb.ServerReadyRequest(), timeout=20).ready
        twice = [("authorization", f"Bearer {OTHER}"), ("authorization", f"Bearer {KEY}")]
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelMetadata(request, timeout=20, metadata=twice)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        several = [("authorization", f"Bearer {KEY}"), ("x", "a"), ("x", "b"), ("x-bin", b"\xff")]
        assert stub.ModelMetadata(request, timeout=20, metadata=several).name == "tiny"


INFER = "/inference.GRPCInferenceService/ModelInfer"
UNSENT, SENT = None, bytes(20_000_000)  # beyond MAX_MESSAGE_BYTES: to receive it would be RESOURCE_EXHAUSTED


@pytest.mark.parametrize("message", [UNSENT, SENT], ids=["unsent", "too large"])
@pytest.mark.parametrize("key", ["", OTHER], ids=["no key", "another key"])
async def test_a_grpc_call_is_refused_before_its_message_is_received(
    keyed: Keyed, message: bytes | None, key: str
) -> None:
    metadata = [("authorization", f"Bearer {key}")] if key else []
    metadata.append(("x-request-id", identity := f"early-{len(key)}-{message is None}"))
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{keyed.grpc_port}", options=options) as channel:
        unary, stream = cast(Any, channel.unary_unary(INFER)), cast(Any, channel.stream_unary(INFER))
        call = stream(metadata=metadata) if message is None else unary(message, metadata=metadata)
        async with asyncio.timeout(RECEIVE_SECONDS / 2):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "API key" in (refused.value.details() or "")
    await until(lambda: any(line["request_id"] == identity for line in keyed.logged.lines("request")), "its line")
    (line,) = [line for line in keyed.logged.lines("request") if line["request_id"] == identity]
    assert (line["status"], line["bytes_in"], line["route"]) == ("UNAUTHENTICATED", 0, INFER)


async def test_grpc_probes_need_no_key(keyed: Keyed) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{keyed.grpc_port}") as channel:
        stub: Any = pb_grpc.GRPCInferenceServiceStub(channel)
        assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        assert (await stub.ServerMetadata(pb.ServerMetadataRequest())).name
        check: Any = health_pb2_grpc.HealthStub(channel).Check
        assert (await check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await check(health_pb2.HealthCheckRequest(service="x" * 70_000))
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED  # no probe is so large


@pytest.mark.parametrize("scheme", ["http", "grpc"])
async def test_a_proxy_sends_its_key_to_its_predictors(keyed: Keyed, scheme: str) -> None:
    address = f"{scheme}://127.0.0.1:{keyed.grpc_port}" if scheme == "grpc" else keyed.url
    rows = {"x": np.array([[1, 2]], np.float32)}
    async with PredictorClient(address, model="tiny", headers={"Authorization": f"Bearer {KEY}"}) as client:
        assert (await client.infer(rows, deadline=Deadline.after(20))).outputs["y"].tolist() == [3]
        assert (await client.metadata(deadline=Deadline.after(20))).name == "tiny"
    async with PredictorClient(address, model="tiny") as client:
        with pytest.raises(UpstreamFailed, match="API key"):
            await client.infer(rows, deadline=Deadline.after(20))


def test_a_page_of_an_allowed_origin_may_call(keyed: Keyed) -> None:
    origin = {"Origin": "https://shop.example"}
    asks = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for path in ("/v2/models/tiny/infer", "/metadata"):
        allowed = keyed.ask("OPTIONS", path, headers=asks)
        assert allowed.status_code == 204
        assert allowed.headers["access-control-allow-headers"] == "authorization"
        assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
        assert keyed.ask("OPTIONS", path, headers=asks | {"Origin": "https://other.example"}).status_code == 405
    for key, status in ((KEY, 200), ("", 401)):
        answer = keyed.ask("POST", "/v2/models/tiny/infer", key, ROW, origin)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, "https://shop.example")
    assert (
        "access-control-allow-origin"
        not in keyed.ask("GET", "/readyz", headers={"Origin": "https://other.example"}).headers
    )


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def asking(key: str) -> RequestContext:
    headers = {b"authorization": f"Bearer {key}".encode()}
    return RequestContext("POST", "/x", "id", continue_trace(None), Deadline.after(1), headers=headers)


def test_each_key_has_its_own_limit() -> None:
    clock = Clock()
    keys = ApiKeys(f"{entry('ada', KEY)},{entry('bob', OTHER, ':0.5')}", None, 2, CapturedLog().logs.log, clock)
    for key, allowed, wait in ((KEY, 2, 0.5), (OTHER, 1, 2.0)):
        for _ in range(allowed):
            keys.check(asking(key))
        with pytest.raises(TooManyRequests) as refused:
            keys.check(asking(key))
        assert refused.value.retry_after == pytest.approx(wait)
    clock.now += 0.5
    keys.check(asking(KEY))
    with pytest.raises(TooManyRequests):
        keys.check(asking(OTHER))


def test_keys_are_added_and_withdrawn_while_the_service_runs(tmp_path: Path) -> None:
    file, clock, logged = tmp_path / "keys", Clock(), CapturedLog()
    file.write_text(f"# ours\n{entry('ada', KEY)}  # until May\n")
    keys = ApiKeys("", file, 0, logged.logs.log, clock)
    keys.check(asking(KEY))
    file.write_text(f"{entry('ada', OTHER)}\n\n")
    clock.now += 1
    keys.check(asking(OTHER))
    with pytest.raises(Unauthorized):
        keys.check(asking(KEY))
    file.write_text("not a key")
    clock.now += 1
    keys.check(asking(OTHER))
    assert "stay valid" in logged.lines()[-1]["event"]


def test_a_wrong_entry_is_named_by_its_position_and_not_repeated() -> None:
    with pytest.raises(
        ValueError, match=r"entry 2: expected name:sha256 or name:sha256:requests_per_second"
    ) as refused:
        parse_keys(f"{entry('ada', KEY)}\nbob:{KEY}")
    assert KEY not in str(refused.value)
