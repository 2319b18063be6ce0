"""A proxy over real predictors: it speaks the protocol itself, watches them, passes on who asks and by when."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client import generate_latest

from common.client import PredictorClient, PredictorResponse
from common.composition.backend import CompositionBackend
from common.composition.flow import call
from common.composition.predictor_health import HealthMonitor
from common.endpoints.backend import InferRequest, InferResponse
from common.errors import InvalidInput, Overloaded, PreprocessingMismatch, UpstreamModelNotFound
from common.http.fastapi_app import build_app
from common.protocol.tensors import TensorSpec
from common.request.deadline import Deadline
from common.roles.predictor import Settings, create_process
from common.roles.proxy import PredictorClients, Proxy
from common.roles.proxy_settings import ProxySettings
from common.service import Service
from tests.unit.common.inference import tiny_models as tiny
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import wait_until
from tests.unit.common.ports import free_port
from tests.unit.common.serving import RunningServer, served

ROW = np.array([[1.0, 2.0]], np.float32)


class Twice:
    """The sum of each row as the predictor gives it, twice."""

    name, version = "twice", "1"
    inputs = [TensorSpec("x", "FP32", (-1, 2))]  # noqa: RUF012  # read only, and a field by the protocol
    outputs = [TensorSpec("y", "FP32", (-1,))]  # noqa: RUF012
    properties: Mapping[str, str] = {"task": "other"}
    example: Mapping[str, Any] = {}

    def __init__(self, predictor: PredictorClient) -> None:
        self._predictor = predictor

    def unavailable_reason(self) -> str | None:
        return None

    async def infer(self, request: InferRequest[Any]) -> InferResponse:
        result = await call(request.context, self._predictor, request.inputs)
        (total,) = result.outputs.values()
        return InferResponse({"y": total * 2}, self.name, self.version, {"asked": result.model_name})


@contextmanager
def predictor(root: Path, port: int = 0) -> Iterator[RunningServer]:
    settings = Settings.model_validate({"model": "tiny", "model_repository": root, "grpc_port": port, "faults": True})
    with served(create_process(settings, CapturedLog().logs).app) as running:
        wait_until(lambda: httpx.get(f"{running.url}/readyz").status_code == 200, "readiness")
        yield running


@contextmanager
def proxy(predictors: str, grpc_port: int = 0, port: int = 0) -> Iterator[RunningServer]:
    settings = ProxySettings.model_validate({"predictors": predictors, "grpc_port": grpc_port, "pattern": "p"})
    service = Service(settings, CapturedLog().logs)
    clients = PredictorClients(service, settings)
    backend = CompositionBackend([Twice(clients["tiny"])], service.health.failed_readiness_checks)
    role = Proxy(service, settings, backend, clients, HealthMonitor(clients))
    app = build_app(service, routers=role.routers, direct=role.direct, resources=role.running)
    with served(app, port=port) as running:
        yield running


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    tiny.write(root, tiny.total())
    return root


@pytest.fixture(scope="module")
def front(root: Path) -> Iterator[RunningServer]:
    with ExitStack() as stack:
        behind = stack.enter_context(predictor(root))
        running = stack.enter_context(proxy(f"tiny={behind.url}", free_port()))
        wait_until(lambda: httpx.get(f"{running.url}/readyz").status_code == 200, "readiness")
        yield running


async def asked(running: RunningServer, model: str = "twice", **how: Any) -> Any:
    async with PredictorClient(running.url, model=model) as client:
        return await client.infer({"x": ROW}, deadline=Deadline.after(10), **how)


async def test_a_proxy_is_asked_as_a_predictor_is(front: RunningServer) -> None:
    result = await asked(front)
    assert result.outputs["y"].tolist() == [6.0]
    assert (result.model_name, result.model_version) == ("twice", "1")
    assert result.parameters == {"asked": "tiny"}
    assert "tiny;dur=" in result.server_timing


async def test_a_proxy_may_stand_behind_a_proxy(front: RunningServer) -> None:
    with proxy(f"tiny={front.url}#twice") as outer:
        result = await asked(outer)
    assert result.outputs["y"].tolist() == [12.0]
    assert result.parameters == {"asked": "twice"}


def away(url: str) -> bool:
    """Whether it is unready because the one behind it cannot answer, and says why that one cannot."""
    told = httpx.get(f"{url}/readyz").text
    return any(f"tiny cannot answer: answered {code}: predictor tiny cannot" in told for code in ("503", "UNAVAILABLE"))


def test_a_proxy_that_cannot_respond_is_unavailable_to_the_proxy_that_calls_it(root: Path) -> None:
    with ExitStack() as stack:
        inner = stack.enter_context(proxy(f"tiny=http://127.0.0.1:{free_port()}", port := free_port()))
        outers = [stack.enter_context(proxy(f"tiny={url}#twice")) for url in (inner.url, f"grpc://127.0.0.1:{port}")]
        for outer in outers:
            wait_until(partial(away, outer.url), "the outer one is unready, and says what the inner one lacks")
        assert httpx.get(f"{inner.url}/v2/models/twice/ready").status_code == 503


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_proxy_that_lists_itself_is_named_as_a_circle_at_once(scheme: str) -> None:
    port, grpc_port = free_port(), free_port()
    address = f"{scheme}://127.0.0.1:{port if scheme == 'http' else grpc_port}#twice"
    with proxy(f"tiny={address}", grpc_port, port) as running:
        wait_until(lambda: "a circle; its PREDICTORS lists itself" in readiness(running), "the circle is named")
        assert httpx.get(f"{running.url}/v2/models/twice/ready").status_code == 503


def readiness(running: RunningServer) -> str:
    return httpx.get(f"{running.url}/readyz").text


async def test_the_proxys_model_tells_of_itself(front: RunningServer) -> None:
    async with PredictorClient(front.url, model="twice") as client:
        metadata = await client.metadata(deadline=Deadline.after(10))
    assert metadata.versions == ("1",)
    assert metadata.properties == {"task": "other"}
    assert metadata.inputs == tuple(Twice.inputs)


async def test_over_grpc_too(front: RunningServer) -> None:
    port = front.app.service.settings.grpc_port
    async with PredictorClient(f"grpc://127.0.0.1:{port}", model="twice") as client:
        result = await client.infer({"x": ROW}, deadline=Deadline.after(10))
    assert result.outputs["y"].tolist() == [6.0]
    assert result.parameters == {"asked": "tiny"}


async def test_another_model_or_version_is_not_there(front: RunningServer) -> None:
    with pytest.raises(UpstreamModelNotFound):
        await asked(front, model="thrice")
    async with PredictorClient(front.url, model="twice") as client:
        with pytest.raises(UpstreamModelNotFound):
            await client.pinned("7").infer({"x": ROW}, deadline=Deadline.after(10))
        assert (await client.pinned("1").infer({"x": ROW}, deadline=Deadline.after(10))).outputs


def test_metadata_names_the_predictors(front: RunningServer) -> None:
    told = httpx.get(f"{front.url}/metadata").json()
    (one,) = told["predictors"]
    assert one["name"] == one["model"] == "tiny"
    assert one["ready"] is True
    assert one["versions"] == ["1"]


def test_each_call_is_counted_by_predictor_and_outcome(front: RunningServer) -> None:
    assert httpx.post(f"{front.url}/v2/models/twice/infer", json=question()).status_code == 200
    assert 'serving_upstream_duration_seconds_count{outcome="ok",predictor="tiny"}' in metrics(front)


async def test_a_twin_is_another_model_of_the_same_predictor_counted_and_limited_alike(root: Path) -> None:
    with predictor(root) as behind:
        given = {"predictors": f"one={behind.url}#ti", "predictor_concurrency": 1, "predictor_queue": 0}
        settings = ProxySettings.model_validate(given)
        service = Service(settings, CapturedLog().logs)
        async with PredictorClients(service, settings).clients_for_variant("ny")["one"] as twin:
            calls = (twin.infer({"x": ROW}, deadline=Deadline.after(10)) for _ in range(2))
            answered, refused = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answered, PredictorResponse)
    assert answered.model_name == "tiny"
    assert isinstance(refused, Overloaded)
    counted = generate_latest(service.metrics.registry).decode()
    for outcome in ("ok", "overloaded"):
        assert f'serving_upstream_duration_seconds_count{{outcome="{outcome}",predictor="one"}} 1.0' in counted


def test_a_proxy_is_unready_while_its_predictor_is_unavailable(root: Path) -> None:
    port = free_port()
    with proxy(f"tiny=http://127.0.0.1:{port}") as running:
        answer = httpx.get(f"{running.url}/readyz")
        assert answer.status_code == 503
        assert "predictor tiny" in answer.json()["reasons"][0]
        assert httpx.post(f"{running.url}/v2/models/twice/infer", json=question()).status_code == 502


async def test_a_client_gets_a_predictors_error_with_its_fields(front: RunningServer) -> None:
    async with PredictorClient(front.url, model="twice") as client:
        with pytest.raises(InvalidInput) as caught:
            await client.infer({"x": ROW, "y": ROW}, deadline=Deadline.after(10))
    (wrong,) = caught.value.fields
    assert f"{wrong.field}: {wrong.reason}" == caught.value.detail


async def test_inputs_prepared_for_another_model_are_refused(root: Path) -> None:
    with predictor(root) as running:
        with pytest.raises(PreprocessingMismatch, match="sha256:other"):
            await asked(running, model="tiny", parameters={"preprocessing_fingerprint": "sha256:other"})
        result = await asked(running, model="tiny", parameters={"preprocessing_fingerprint": ""})
        assert result.model_name == "tiny"


def question() -> dict[str, Any]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}


def metrics(running: RunningServer) -> str:
    return httpx.get(f"{running.url}/metrics").text
