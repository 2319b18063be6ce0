"""The role `api`: classifies images within a request. It serves three standard protocols as well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from common.endpoints.tfserving_grpc import add_tfserving
from common.endpoints.tfserving_rest import TfServingRoute, tfserving_routes
from common.endpoints.torchserve import TorchServeRoute, torchserve_routes
from common.http.fastapi_app import build_app
from common.inference.executor import BoundedExecutor
from common.inference.manifest import Manifest
from common.inference.repository import OpenModel
from common.inference.session import open_model
from common.jobs.durable import DurableJobs
from common.jobs.http import HandOver, job_routes
from common.jobs.in_process import InProcessJobs
from common.jobs.redis.records import JobLimits
from common.jobs.store import MemoryJobStore
from common.jobs.submission import JobsRoute
from common.observability.log import Logs
from common.page import page_routes
from common.preprocessing.items import ItemPreparer
from common.roles.predictor import Predictor, host_models
from common.roles.process import ServiceProcess
from common.service import Service
from patterns.synchronous.classify import Classifier, ClassifyRoute
from patterns.synchronous.settings import Settings

if TYPE_CHECKING:
    from common.inference.source import ModelFiles

__all__ = ["Settings", "api_process", "create_process"]
HERE = Path(__file__).parent


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """The API with ONNX models."""
    return api_process(settings, logs, open_model)


def api_process(
    settings: Settings, logs: Logs, open_files: OpenModel, files: ModelFiles = Manifest.files
) -> ServiceProcess:
    """A classifier behind /classify, its jobs, three standard protocols and a page."""
    service = Service(settings, logs, samples=HERE / "samples")
    models = host_models(service, settings, open_files, files)
    executor = BoundedExecutor(settings.decode_threads, settings.decode_queue, service.metrics)
    items = ItemPreparer(executor, settings.max_pixels)
    predictor = Predictor(service, settings, models, grpc_services=[partial(add_tfserving, items=items)])
    classifier = Classifier(models.backend, models.backend.metrics.seconds, items, settings)
    jobs = _jobs(service, settings, classifier)
    hand_over = HandOver(service, jobs, classifier.classify, on_timeout=settings.on_timeout == "job")

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        with executor:
            async with predictor.running(), jobs.running():
                yield

    app = build_app(
        service,
        routers=[
            *predictor.routers,
            tfserving_routes(predictor.backend, items),
            torchserve_routes(models.backend, service.health),
            job_routes(jobs),
            page_routes(HERE / "panel.js", service.samples),
        ],
        direct=[
            *predictor.direct,
            TfServingRoute(predictor.backend, items),
            TorchServeRoute(predictor.backend, items),
            ClassifyRoute(classifier, hand_over),
            JobsRoute(jobs, classifier.read, classifier.operation),
        ],
        resources=running,
    )
    return ServiceProcess(app)


def _jobs(service: Service, settings: Settings, classifier: Classifier) -> DurableJobs | InProcessJobs:
    """What is handed over outlives this process where there is a Redis for it."""
    timeout_seconds, ttl_seconds = settings.job_timeout_seconds, settings.job_ttl_seconds
    if not settings.jobs_url:
        store = MemoryJobStore(settings.jobs_limit, ttl_seconds)
        return InProcessJobs(service, store, classifier.classify, timeout_seconds)
    return DurableJobs(
        service,
        settings.jobs_url,
        classifier.classify,
        limits=JobLimits(most_jobs=settings.jobs_limit, lease_seconds=settings.jobs_lease_seconds),
        timeout_seconds=timeout_seconds,
        ttl_seconds=ttl_seconds,
    )
