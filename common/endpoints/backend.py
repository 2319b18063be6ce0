"""What handles inference requests, as the endpoints see it: models by name and version, and `infer`.

A service that holds models has one (`common/inference/onnx_backend.py`), a proxy that composes other services has one
(`common/composition/backend.py`), and one may wrap another, which is where a cache stands. REST, gRPC and TensorFlow
Serving's endpoints are written against this alone, so none of them needs ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from common.errors import InvalidInput
from common.protocol.tensors import Array, TensorSpec
from common.request.context import RequestContext


class ModelHandle(Protocol):
    """One version of one model, as `resolve` found it; a request keeps its handle from its first step to its last."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def inputs(self) -> list[TensorSpec]: ...

    @property
    def outputs(self) -> list[TensorSpec]: ...

    @property
    def properties(self) -> Mapping[str, str]:
        """What a caller may want to know besides: labels, feature names, the preprocessing's fingerprint."""

    @property
    def example(self) -> Mapping[str, Any]:
        """A request body that works; empty when it would be too long to show."""


M = TypeVar("M", bound=ModelHandle)
Parameters = Mapping[str, Any]


class InferRequest(msgspec.Struct, Generic[M]):
    """What a backend is asked.

    `inputs` have been checked against the model. `outputs` are the names that the caller wants, all when empty.
    `parameters` are those of the Open Inference Protocol's request.
    """

    context: RequestContext
    model: M
    inputs: dict[str, Array]
    outputs: Sequence[str] = ()
    parameters: Parameters = {}

    def check_outputs(self) -> None:
        """Raises InvalidInput for an output that the model does not have."""
        if self.outputs:
            names = [spec.name for spec in self.model.outputs]
            for name in self.outputs:
                if name not in names:
                    raise InvalidInput.at(
                        "outputs", f"model {self.model.name!r} has no output {name!r}, only {', '.join(names)}"
                    )


class InferResponse(msgspec.Struct):
    """Arrays by output name, the model and the version that made them, and the protocol's response parameters."""

    outputs: Mapping[str, Array]
    model_name: str
    model_version: str
    parameters: Parameters = {}


class InferenceBackend(Protocol[M]):
    """Models, and how they are asked."""

    @property
    def platform(self) -> str:
        """What runs the models, in the protocol's words."""

    def models(self) -> Mapping[str, Sequence[str]]:
        """The names of all models, each with the versions of it that can be asked: none while it is not ready."""

    def resolve(self, name: str, version: str | None = None) -> M:
        """The handle of a version, the newest when none is named. Raises NotFound, or NotReady with the reason."""

    def describe(self, name: str, version: str | None = None) -> M:
        """As `resolve`, for a caller that asks whether the model can be used: NotReady also when a dependency is."""

    async def infer(self, request: InferRequest[M]) -> InferResponse:
        """Runs the model. Raises ServingError."""


class BackendWrapper(Generic[M]):
    """A backend in front of another one. A subclass overrides what it changes."""

    def __init__(self, inner: InferenceBackend[M]) -> None:
        self.inner = inner

    @property
    def platform(self) -> str:
        return self.inner.platform

    def models(self) -> Mapping[str, Sequence[str]]:
        return self.inner.models()

    def resolve(self, name: str, version: str | None = None) -> M:
        return self.inner.resolve(name, version)

    def describe(self, name: str, version: str | None = None) -> M:
        return self.inner.describe(name, version)

    async def infer(self, request: InferRequest[M]) -> InferResponse:
        return await self.inner.infer(request)


def ready_models(backend: InferenceBackend[M]) -> list[M]:
    """A handle of each version of each model that can be asked."""
    return [backend.resolve(name, version) for name, versions in backend.models().items() for version in versions]
