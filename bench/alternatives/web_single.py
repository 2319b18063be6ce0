"""web_single without its page's panel and without POST /predict, built around a given service."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from common.http.app import App
from common.http.fastapi_app import build_app
from common.page import page_routes
from common.roles.predictor import Predictor, host_models
from common.roles.process import ServiceProcess
from common.service import Service
from patterns.web_single.settings import Settings


def predictor_of(service: Service, settings: Settings) -> Predictor:
    """The pattern's predictor; everything that it counts and logs goes to `service`."""
    return Predictor(service, settings, host_models(service, settings))


def app_of(service: Service, predictor: Predictor, first: Sequence[APIRouter] = (), *, direct: bool = True) -> App:
    """The predictor's application. `first` are routers before its own; `direct`: its infer route is a direct route."""
    return build_app(
        service,
        routers=[*first, *predictor.routers, page_routes()],
        direct=predictor.direct if direct else [],
        resources=predictor.running,
    )


def process_of(service: Service, settings: Settings) -> ServiceProcess:
    """The pattern with another service."""
    return ServiceProcess(app_of(service, predictor_of(service, settings)))
