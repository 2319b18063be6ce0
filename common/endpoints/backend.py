"""What answers inference requests, as the transports see it: models by name and version, each with its tensors.

A service that holds models is one (`dataplane.py`); so is a proxy that composes others (`common/composition`). REST,
gRPC and TF Serving's surface are written against this alone, and so none of them needs ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from common.protocol.tensors import Array, TensorSpec
from common.request.context import RequestContext


class Model(Protocol):
    """One version of what answers under a name."""

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
        """A request body that works; empty where one would be too long to show."""


M = TypeVar("M", bound=Model)


class InferenceBackend(Protocol[M]):
    """Models, and how to ask them."""

    @property
    def platform(self) -> str:
        """What runs the models, in the words of the protocol."""

    def names(self) -> list[str]:
        """All models, ready or not."""

    def versions(self, name: str) -> list[str]:
        """The versions of a model that answer."""

    def get(self, name: str, version: str | None = None) -> M:
        """The version that answers (the newest unless one is asked for); raises NotFound or NotReady."""

    def describe(self, name: str, version: str | None = None) -> M:
        """The same for who asks what it is or whether it can answer: NotReady also while what it needs is away."""

    def ready(self) -> Sequence[M]:
        """Every version that answers, newest model first."""

    async def infer(
        self, context: RequestContext, model: M, inputs: dict[str, Array], wanted: Sequence[str] = ()
    ) -> Mapping[str, Array]:
        """Outputs by name (all, or those `wanted`), for inputs that have been checked against the model."""
