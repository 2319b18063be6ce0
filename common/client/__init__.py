"""Calls a predictor: pooled, bounded by a deadline, retried where that is safe, over REST with binary tensors or gRPC.

A proxy holds one `PredictorClient` for each predictor. The client decides whether, when and how often to call
(`predictor.py`, `limits.py`); a `Transport` makes one attempt (`rest.py` over `http1.py`, `rpc.py` over grpcio).
"""

from common.client.limits import ClientLimits
from common.client.predictor import PredictorClient
from common.client.transport import ModelMetadata, PredictorRequest, PredictorResponse, RetryableError, Transport

__all__ = [
    "ClientLimits",
    "ModelMetadata",
    "PredictorClient",
    "PredictorRequest",
    "PredictorResponse",
    "RetryableError",
    "Transport",
]
