"""The client of a predictor: it pools connections, keeps deadlines, and retries where that is safe.

A service has one `PredictorClient` for each predictor that it calls. The client decides whether, when and how often to
call (`predictor.py`, `limits.py`). A `Transport` makes one attempt: `rest.py` sends binary tensors over HTTP/1.1
(`http1.py`), `rpc.py` uses grpcio.
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
