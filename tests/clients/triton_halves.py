"""Calls a service of prep_pred with tritonclient: `python tests/clients/triton_halves.py HTTP_ADDRESS GRPC_ADDRESS`.

Reads `{"model": .., "input": .., "datatype": "BYTES" or "FP32", "rows": [..], "output": ..}`, a row being a text
(BYTES) or a list of numbers (FP32). Prints for each protocol the model's readiness and inputs, and the response.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http


def infer(module: Any, address: str, question: dict[str, Any]) -> dict[str, Any]:
    name, rows = question["model"], question["rows"]
    values = (
        np.array([row.encode() for row in rows], object)
        if question["datatype"] == "BYTES"
        else np.array(rows, np.float32)
    )
    with module.InferenceServerClient(address) as client:
        tensor = module.InferInput(question["input"], list(values.shape), question["datatype"])
        tensor.set_data_from_numpy(values)
        answer = client.infer(name, [tensor], request_id="seven")
        as_json = {"as_json": True} if module is tritonclient.grpc else {}
        response = answer.get_response(**as_json)
        return {
            "ready": [client.is_server_ready(), client.is_model_ready(name)],
            "inputs": [one["name"] for one in client.get_model_metadata(name, **as_json)["inputs"]],
            "model": [response["model_name"], response["model_version"], response["id"]],
            "output": answer.as_numpy(question["output"]).tolist(),
        }


if __name__ == "__main__":
    http_address, grpc_address = sys.argv[1:]
    question = json.load(sys.stdin)
    print(
        json.dumps(
            {
                "HTTP": infer(tritonclient.http, http_address, question),
                "gRPC": infer(tritonclient.grpc, grpc_address, question),
            }
        )
    )
