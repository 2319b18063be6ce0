"""Calls a proxy with tritonclient: `python tests/clients/triton_parallel.py HTTP_ADDRESS GRPC_ADDRESS`; prints JSON.

A separate process, because tritonclient's generated classes have the same protobuf names as ours.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http

ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [5.9, 3.0, 5.1, 1.8]], np.float32)
MODEL = "parallel"


def infer(library: Any, address: str) -> dict[str, Any]:
    with library.InferenceServerClient(address) as client:
        features = library.InferInput("features", list(ROWS.shape), "FP32")
        features.set_data_from_numpy(ROWS)
        answer = client.infer(MODEL, [features], request_id="seven", parameters={"aggregate": "best"})
        response = answer.get_response()
        return {
            "alive": [client.is_server_live(), client.is_server_ready(), client.is_model_ready(MODEL)],
            "id": response["id"] if isinstance(response, dict) else response.id,
            **{name: answer.as_numpy(name).tolist() for name in ("probabilities", "label", "petal_width")},
        }


if __name__ == "__main__":
    http_address, grpc_address = sys.argv[1:]
    answers = {"HTTP": infer(tritonclient.http, http_address), "gRPC": infer(tritonclient.grpc, grpc_address)}
    print(json.dumps(answers))
