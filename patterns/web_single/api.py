"""The role `api`: the stock predictor with a friendly route, POST /predict, and a page to try it."""

from __future__ import annotations

from pathlib import Path

from common.http.api import build_app
from common.http.app import App
from common.observability.log import Logs
from common.page import page_routes
from common.roles.predictor import Predictor
from common.service import Service
from patterns.web_single.predict import PredictRoute
from patterns.web_single.settings import Settings

__all__ = ["Settings", "create_app"]


def create_app(settings: Settings, logs: Logs) -> App:
    """One model behind /predict, the Open Inference Protocol and a page."""
    service = Service(settings, logs)
    predictor = Predictor(service, settings)
    predict = PredictRoute(predictor.backend, settings.models[0], settings.predict_max_rows)
    return build_app(
        service,
        routers=[*predictor.routers, page_routes(Path(__file__).parent / "panel.js")],
        direct=[*predictor.direct, predict],
        resources=predictor.running,
    )
