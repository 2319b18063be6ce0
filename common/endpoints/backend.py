"""The interface of an inference backend: models by name and version, and `infer`.

A service that holds models has an `OnnxBackend` (`common/inference/onnx_backend.py`), a proxy has a
`CompositionBackend` (`common/composition/backend.py`), and a backend may wrap another one, as a cache does. All
endpoints use this interface alone, so none of them needs ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from common.errors import InvalidInput
from common.protocol.tensors import Array, TensorSpec
from common.request.context import RequestContext


class ModelHandle(Protocol):
    """One version of one model, as `resolve` returned it. A request uses one handle from its first step to its last."""

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
        """Further metadata: labels, feature names, the fingerprint of the preprocessing."""

    @property
    def example(self) -> Mapping[str, Any]:
        """A valid request body for the documentation; empty when it would be too long to show."""


M = TypeVar("M", bound=ModelHandle)
Parameters = Mapping[str, Any]


class InferRequest(msgspec.Struct, Generic[M]):
    """A request to a backend.

    `inputs` have been checked against the model. `outputs` are the names of the requested outputs, all when empty.
    `parameters` are those of the Open Inference Protocol's request.
    """

    context: RequestContext
    model: M
    inputs: dict[str, Array]
    outputs: Sequence[str] = ()
    parameters: Parameters = {}

    def check_output_names(self) -> None:
        """Raises InvalidInput when the model does not have one of the requested outputs."""
        if self.outputs:
            names = [spec.name for spec in self.model.outputs]
            for name in self.outputs:
                if name not in names:
                    raise InvalidInput.at(
                        "outputs",
                        f"model {self.model.name!r} has no output {name!r}, only {', '.join(names)}",
                    )


class InferResponse(msgspec.Struct):
    """Arrays by output name, the model and the version that computed them, and the protocol's response parameters."""

    outputs: Mapping[str, Array]
    model_name: str
    model_version: str
    parameters: Parameters = {}


class InferenceBackend(Protocol[M]):
    """Models by name and version, and inference on them."""

    @property
    def platform(self) -> str:
        """The `platform` in the protocol's model metadata: what runs the models."""

    def models(self) -> Mapping[str, Sequence[str]]:
        """The versions of each model that are ready, by the model's name; empty for a model that is not ready."""

    def resolve(self, name: str, version: str | None = None) -> M:
        """The handle of a version, by default of the newest one. Raises NotFound, or NotReady with the reason."""

    def describe(self, name: str, version: str | None = None) -> M:
        """The same as `resolve`, but raises NotReady also when a service that the model depends on is not ready."""

    async def infer(self, request: InferRequest[M]) -> InferResponse:
        """Runs the model. Raises ServingError."""


class BackendWrapper(Generic[M]):
    """A backend that passes everything on to another one. A subclass overrides what it changes."""

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
    """A handle of each version of each model that is ready."""
    return [backend.resolve(name, version) for name, versions in backend.models().items() for version in versions]
