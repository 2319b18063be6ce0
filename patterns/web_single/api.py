"""The role `api`: a predictor with the route POST /predict, which takes named features, and a page to try it."""

from __future__ import annotations

from pathlib import Path

from common.http.fastapi_app import build_app
from common.observability.log import Logs
from common.page import page_routes
from common.roles.predictor import Predictor, host_models
from common.roles.process import ServiceProcess
from common.service import Service
from patterns.web_single.predict import PredictRoute
from patterns.web_single.settings import Settings

__all__ = ["Settings", "create_process"]


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """One model behind /predict, the Open Inference Protocol and a page."""
    service = Service(settings, logs)
    models = host_models(service, settings)
    predictor = Predictor(service, settings, models)
    predict = PredictRoute(models.backend, settings.models[0], settings.predict_max_rows)
    app = build_app(
        service,
        routers=[*predictor.routers, page_routes(Path(__file__).parent / "panel.js")],
        direct=[*predictor.direct, predict],
        resources=predictor.running,
    )
    return ServiceProcess(app)
