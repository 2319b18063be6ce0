"""The role `api`: pictures in, names out, all inside the request; Open Inference Protocol and TF Serving beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common.endpoints.tfserving_grpc import add_tfserving
from common.endpoints.tfserving_rest import TfServingRoute, tfserving_routes
from common.http.api import build_app
from common.http.app import App
from common.inference.executor import BoundedExecutor
from common.jobs.in_process import Jobs, job_routes
from common.observability.log import Logs
from common.page import page_routes
from common.roles.predictor import Predictor
from common.service import Service
from patterns.synchronous.classify import Classifier, ClassifyRoute
from patterns.synchronous.settings import Settings

__all__ = ["Settings", "create_app"]
HERE = Path(__file__).parent


def create_app(settings: Settings, logs: Logs) -> App:
    """A picture classifier behind /classify, its jobs, two standard protocols and a page."""
    service = Service(settings, logs, samples=HERE / "samples")
    predictor = Predictor(service, settings, grpc_services=[add_tfserving])
    executor = BoundedExecutor(settings.decode_threads, settings.decode_queue, service.metrics)
    jobs = Jobs(service, settings.job_policy)
    classifier = Classifier(predictor, executor, settings)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        with executor:
            async with predictor.running(), jobs.running():
                yield

    return build_app(
        service,
        routers=[
            *predictor.routers,
            tfserving_routes(predictor.backend),
            job_routes(jobs),
            page_routes(HERE / "panel.js", service.samples),
        ],
        direct=[*predictor.direct, TfServingRoute(predictor.backend), ClassifyRoute(classifier, jobs)],
        resources=running,
    )
