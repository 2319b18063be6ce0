"""All models of the corpus on one server, with every surface, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx

from common.endpoints.tfserving_grpc import add_tfserving
from common.endpoints.tfserving_rest import TfServingRoute, tfserving_routes
from common.http.fastapi_app import build_app
from common.http.reply import Reply
from common.inference.onnx_backend import OnnxBackend
from common.protocol.grpc import oip_pb2_grpc, tfserving_pb2_grpc
from common.protocol.json_body import Payload
from common.request.context import RequestContext
from common.roles.predictor import Predictor, Settings, host_models
from common.service import Service
from patterns.web_single.predict import PATH, PredictRoute
from tests.models.case import Case
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import wait_until
from tests.unit.common.ports import free_port
from tests.unit.common.serving import served


class PredictEach:
    """POST /predict/NAME: the route /predict for each of the models."""

    def __init__(self, backend: OnnxBackend, names: list[str]) -> None:
        self._routes = {f"{PATH}/{name}": PredictRoute(backend, name, 100) for name in names}

    def match(self, path: str) -> bool:
        return path in self._routes

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        return await self._routes[context.path].handle(context, body)

    def document(self) -> dict[str, Any]:
        """Made for each model, so that a model whose documentation fails is seen; one stands for all."""
        documents = [route.document() for route in self._routes.values()]
        return documents[0]


class Hosted:
    """Clients of the server."""

    def __init__(self, http: httpx.Client, channel: grpc.Channel, logged: CapturedLog) -> None:
        self.http, self.logged = http, logged
        self.oip: Any = oip_pb2_grpc.GRPCInferenceServiceStub(channel)
        self.tfserving: Any = tfserving_pb2_grpc.PredictionServiceStub(channel)


@contextmanager
def hosted(cases: list[Case], root: Path) -> Iterator[Hosted]:
    for case in cases:
        case.write(root)
    names, port, logged = [case.name for case in cases], free_port(), CapturedLog()
    settings = Settings.model_validate({"model": ",".join(names), "model_repository": root, "grpc_port": port})
    service = Service(settings, logged.logs)
    models = host_models(service, settings)
    predictor = Predictor(service, settings, models, grpc_services=[add_tfserving])
    app = build_app(
        service,
        routers=[*predictor.routers, tfserving_routes(models.backend)],
        direct=[*predictor.direct, TfServingRoute(models.backend), PredictEach(models.backend, names)],
        resources=predictor.running,
    )
    with (
        served(app) as running,
        httpx.Client(base_url=running.url, timeout=20) as client,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        wait_until(lambda: client.get("/readyz").status_code == 200, "readiness")
        yield Hosted(client, channel, logged)
