"""The predictor: serves ONNX models with the Open Inference Protocol, over REST and gRPC.

Every role that holds models is built from it; patterns add their routes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from pydantic import Field, field_validator

from common import RELEASE
from common.endpoints.backend import InferenceBackend
from common.endpoints.fingerprint import FingerprintRequired
from common.endpoints.oip_grpc import AddServices, serve_grpc
from common.endpoints.oip_rest import InferRoute, model_routes, repository_routes
from common.http.fastapi_app import build_app
from common.inference.batching import BatchPolicy
from common.inference.faults import FaultSwitch, fault_routes
from common.inference.manifest import Manifest
from common.inference.onnx_backend import OnnxBackend
from common.inference.repository import LoadPolicy, ModelRepository, OpenModel
from common.inference.session import open_model
from common.observability.log import Logs
from common.observability.metrics import InferenceMetrics
from common.page import page_routes, sample_names
from common.roles.process import ServiceProcess
from common.service import Service
from common.settings import ServiceSettings

if TYPE_CHECKING:
    from common.inference.source import ModelFiles, ModelSource


class Settings(ServiceSettings):
    """The settings of a service that holds models."""

    model: str = Field("iris", pattern=r"\w", description="The models to serve, separated by commas.")
    model_repository: Path = Field(
        Path("models/build"), description="Folder of `<name>/<version>/` with model.onnx and model.yaml."
    )
    model_uri: str = Field(
        "", description="URL of a version's folder to download (file, http, s3, gs, az); empty: the repository."
    )
    model_manifest_sha256: str = Field("", description="With MODEL_URI: the sha256 that its model.yaml must have.")
    model_fetch_timeout_seconds: float = Field(60.0, gt=0, description="With MODEL_URI: longest time for one attempt.")
    model_control: bool = Field(False, description="Allows loading and unloading of models over the API.")
    model_versions_kept: int = Field(
        1, ge=1, le=100, description="Number of versions of a model that are served at the same time."
    )
    intra_op_threads: int = Field(1, ge=1, description="ONNX Runtime threads of one run; usually the CPU limit.")
    batch_max_rows: int = Field(256, ge=1, description="Most rows in one run; 1 turns micro-batching off.")
    batch_delay_seconds: float = Field(
        0.0, ge=0, le=10, description="How long a run waits for more requests, unless it is full; 0: not at all."
    )
    queue_limit: int = Field(256, ge=1, description="Most requests that may wait for a model; more get 503.")
    prediction_log_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of requests (0 to 1) logged with inputs and outputs, which may be personal data.",
    )
    require_fingerprint: bool = Field(
        False, description="Refuses tensors without the fingerprint of the preprocessing that the model needs."
    )

    @field_validator("model_uri")
    @classmethod
    def _known_store(cls, uri: str) -> str:
        if uri:
            from common.inference.source import check_uri  # as below

            check_uri(uri)
        return uri

    @property
    def models(self) -> list[str]:
        return [name.strip() for name in self.model.split(",") if name.strip()]


@dataclass(frozen=True, slots=True)
class HostedModels:
    """The models that a service holds, and the switch for injected faults; None unless FAULTS is true."""

    backend: OnnxBackend
    faults: FaultSwitch | None


def host_models(
    service: Service, settings: Settings, open_files: OpenModel = open_model, files: ModelFiles = Manifest.files
) -> HostedModels:
    """Prepares the models that the settings name. `Predictor.running` loads them, with `open_files`.

    `files` names the files that are downloaded from MODEL_URI, each with its sha256.
    """
    faults = FaultSwitch() if settings.faults else None
    metrics = InferenceMetrics(service.metrics)
    root = Path(tempfile.mkdtemp(prefix="models-")) if settings.model_uri else settings.model_repository
    policy = LoadPolicy(
        settings.intra_op_threads,
        BatchPolicy(settings.batch_max_rows, settings.queue_limit, settings.batch_delay_seconds),
        settings.model_versions_kept,
        faults.wrap if faults else None,
        service.requests_starting,
        open_files,
    )
    repository = ModelRepository(root, policy, metrics, service.logs.log, _source(settings, files))
    backend = OnnxBackend(repository, metrics, service.logs.log, settings.prediction_log_share)
    return HostedModels(backend, faults)


def _source(settings: Settings, files: ModelFiles) -> ModelSource | None:
    if not settings.model_uri:
        return None
    from common.inference.source import ModelSource  # takes 5 MB of memory, which other services do not need

    return ModelSource(
        settings.model_uri,
        settings.model_manifest_sha256,
        files=files,
        timeout_seconds=settings.model_fetch_timeout_seconds,
    )


class Predictor:
    """The routes of a service that holds models, and the resources that they need.

    `backend` handles the requests: by default that of `models`, or one that wraps it; patterns give it to further
    endpoints that take tensors. `grpc_services` are added to the
    gRPC server, beside the Open Inference Protocol.
    """

    def __init__(
        self,
        service: Service,
        settings: Settings,
        models: HostedModels,
        backend: InferenceBackend[Any] | None = None,
        grpc_services: Sequence[AddServices] = (),
    ) -> None:
        self._service, self._settings, self._grpc_services = service, settings, grpc_services
        self._repository, self._faults = models.backend.repository, models.faults
        self.backend: InferenceBackend[Any] = models.backend if backend is None else backend
        if settings.require_fingerprint:
            self.backend = FingerprintRequired(self.backend)
        self.direct = [InferRoute(self.backend)]
        self._observe()

    @property
    def routers(self) -> Sequence[APIRouter]:
        """The FastAPI routes, in the order of the API documentation."""
        faults = [fault_routes(self._faults)] if self._faults else []
        models = model_routes(self.backend, self._service.health)
        control = repository_routes(self._repository, self._settings.model_control)
        return [models, control, _metadata_routes(self._service, self._repository), *faults]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A context in which the models are loaded, in the background, and gRPC is served."""
        settings = self._settings
        async with AsyncExitStack() as stack:
            if settings.model_uri:
                stack.callback(shutil.rmtree, self._repository.root, ignore_errors=True)
            await stack.enter_async_context(self._repository.open(settings.models))
            if settings.grpc_port:
                await stack.enter_async_context(
                    serve_grpc(self.backend, self._service, settings.host, settings.grpc_port, self._grpc_services)
                )
            yield

    def _observe(self) -> None:
        health, metrics, repository = self._service.health, self._service.metrics, self._repository
        health.add_readiness_check(lambda: _unready(repository) or _stuck(repository, self._settings.stuck_seconds))
        health.add_liveness_check(lambda: _stuck(repository, 2 * self._settings.stuck_seconds))
        metrics.gauge(
            "serving_queue_depth",
            "Requests that wait for a model.",
            ("model",),
            lambda: [((one.name,), one.batcher.depth) for one in repository.loaded()],
        )
        metrics.gauge(
            "serving_model_info",
            "The models that are served.",
            ("model", "version", "sha256"),
            lambda: [((one.name, one.version, one.manifest.sha256), 1) for one in repository.loaded()],
        )
        metrics.gauge(
            "serving_last_progress_timestamp_seconds",
            "Time at which the last run of the model ended.",
            ("model",),
            lambda: [((one.name,), one.batcher.last_progress) for one in repository.loaded()],
        )


def _unready(repository: ModelRepository) -> str | None:
    reasons = [f"model {name!r}: {entry.reason}" for name, entry in repository.required() if not entry.versions]
    if not reasons and not any(repository.loaded()):
        return "every model has been unloaded over the API; load one to be ready"
    return "; ".join(reasons) or None


def _stuck(repository: ModelRepository, seconds: float) -> str | None:
    for loaded in repository.loaded():
        if loaded.batcher.running_for > seconds:
            return f"model {loaded.name!r}: an inference has been running for {loaded.batcher.running_for:.0f} s"
    return None


def _metadata_routes(service: Service, repository: ModelRepository) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/metadata", summary="What this service is and which model it serves")
    async def metadata(request: Request) -> dict[str, Any]:
        loaded = next(iter(repository.loaded()), None)
        return {
            "pattern": service.settings.pattern,
            "service": service.settings.service,
            "release": RELEASE,
            "model": loaded.manifest.model_dump(mode="json") if loaded else None,
            "routes": list(request.app.openapi()["paths"]),
            "samples": sample_names(service.samples),
        }

    return router


def create_process(settings: Settings, logs: Logs) -> ServiceProcess:
    """A predictor without further routes."""
    service = Service(settings, logs)
    predictor = Predictor(service, settings, host_models(service, settings))
    return ServiceProcess(
        build_app(
            service,
            routers=[*predictor.routers, page_routes()],
            direct=predictor.direct,
            resources=predictor.running,
        )
    )
