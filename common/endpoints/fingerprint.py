"""A backend that demands that a request states how its inputs were prepared."""

from __future__ import annotations

from typing import Any

from common.endpoints.backend import BackendWrapper, InferRequest, InferResponse, ModelHandle, Parameters
from common.errors import InvalidInput

FINGERPRINT = "preprocessing_fingerprint"


def stated(model: ModelHandle) -> Parameters:
    """The parameters of a request whose inputs this process has prepared by the model's own manifest."""
    fingerprint = model.properties.get(FINGERPRINT)
    return {FINGERPRINT: fingerprint} if fingerprint else {}


class FingerprintRequired(BackendWrapper[Any]):
    """Refuses requests without the fingerprint of their preprocessing, for models whose manifest has one.

    The backend behind it compares a fingerprint that is stated. Without this wrapper a request that states none is
    taken as correctly prepared, so a client that prepares its inputs in another way gets wrong answers.
    """

    async def infer(self, request: InferRequest[Any]) -> InferResponse:
        expected = request.model.properties.get(FINGERPRINT)
        if expected and request.parameters.get(FINGERPRINT) is None:
            raise InvalidInput.at(
                f"parameters.{FINGERPRINT}",
                f"is missing; expected {expected!r}, stated by the service that prepared the inputs of model "
                f"{request.model.name!r}; REQUIRE_FINGERPRINT=false of this service accepts inputs without it",
            )
        return await self.inner.infer(request)
