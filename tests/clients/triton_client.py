"""Calls a service with tritonclient: `python tests/clients/triton_client.py HTTP_ADDRESS GRPC_ADDRESS`.

A separate process, because tritonclient's generated classes have the same protobuf names as ours. Prints the responses
as one JSON object.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http

ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]], np.float32)


def over_http(address: str, *, binary: bool) -> dict[str, Any]:
    with tritonclient.http.InferenceServerClient(address) as client:
        features = tritonclient.http.InferInput("features", list(ROWS.shape), "FP32")
        features.set_data_from_numpy(ROWS, binary_data=binary)
        wanted = [
            tritonclient.http.InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "label")
        ]
        answer = client.infer("iris", [features], outputs=wanted, request_id="seven")
        return {
            "alive": [client.is_server_live(), client.is_server_ready(), client.is_model_ready("iris")],
            "extensions": client.get_server_metadata()["extensions"],
            "inputs": client.get_model_metadata("iris")["inputs"],
            "index": client.get_model_repository_index(),
            **_summary(answer.get_response(), answer),
        }


def over_grpc(address: str) -> dict[str, Any]:
    with tritonclient.grpc.InferenceServerClient(address) as client:
        features = tritonclient.grpc.InferInput("features", list(ROWS.shape), "FP32")
        features.set_data_from_numpy(ROWS)
        answer = client.infer("iris", [features], request_id="seven")
        return {
            "alive": [client.is_server_live(), client.is_server_ready(), client.is_model_ready("iris")],
            "extensions": client.get_server_metadata(as_json=True)["extensions"],
            "inputs": client.get_model_metadata("iris", as_json=True)["inputs"],
            **_summary(answer.get_response(as_json=True), answer),
        }


def _summary(response: Any, answer: Any) -> dict[str, Any]:
    return {
        "model": [response["model_name"], response["model_version"], response["id"]],
        "label": answer.as_numpy("label").tolist(),
        "probabilities": answer.as_numpy("probabilities").tolist(),
    }


def over_http_by_default(address: str) -> dict[str, Any]:
    """Request no outputs by name, as tritonclient does by default: the response has all, as binary tensors."""
    with tritonclient.http.InferenceServerClient(address) as client:
        features = tritonclient.http.InferInput("features", list(ROWS.shape), "FP32")
        features.set_data_from_numpy(ROWS)
        answer = client.infer("iris", [features], request_id="seven")
        return _summary(answer.get_response(), answer)


if __name__ == "__main__":
    http_address, grpc_address = sys.argv[1:]
    print(
        json.dumps(
            {
                "JSON": over_http(http_address, binary=False),
                "binary": over_http(http_address, binary=True),
                "defaults": over_http_by_default(http_address),
                "gRPC": over_grpc(grpc_address),
            }
        )
    )
