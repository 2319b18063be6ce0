"""Asks a service with tritonclient, NVIDIA's client for the protocol: `triton.py HTTP_ADDRESS GRPC_ADDRESS < REQUEST`.

A process of its own, because tritonclient brings generated classes under the same protobuf names as ours. REQUEST is
`{"model": name, "inputs": [{"name", "datatype", "shape", "data"}], "parameters": {..}}` with the elements of a BYTES
tensor in base64. Prints one JSON object: what each way of asking answered.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http

DTYPES: dict[str, Any] = {"FP32": np.float32, "INT64": np.int64, "UINT8": np.uint8, "BYTES": object}


def ask(library: Any, address: str, asked: dict[str, Any], **how: Any) -> dict[str, Any]:
    """One inference and what the client says of the server and the model; `how` is for `set_data_from_numpy`."""
    name = asked["model"]
    with library.InferenceServerClient(address) as client:
        tensors = [tensor(library, one, **how) for one in asked["inputs"]]
        outputs = None
        if how:  # binary in, binary out, or neither
            names = [one["name"] for one in client.get_model_metadata(name)["outputs"]]
            outputs = [library.InferRequestedOutput(one, **how) for one in names]
        answer = client.infer(
            name, tensors, outputs=outputs, request_id="seven", parameters=asked.get("parameters") or None
        )
        as_json = {"as_json": True} if library is tritonclient.grpc else {}
        response = answer.get_response(**as_json)
        return {
            "alive": [client.is_server_live(), client.is_server_ready(), client.is_model_ready(name)],
            "extensions": client.get_server_metadata(**as_json)["extensions"],
            "inputs": [one["name"] for one in client.get_model_metadata(name, **as_json)["inputs"]],
            "model": [response["model_name"], response["model_version"], response["id"]],
            "outputs": {one["name"]: plain(answer.as_numpy(one["name"])) for one in response["outputs"]},
        }


def tensor(library: Any, told: dict[str, Any], **how: Any) -> Any:
    data = [base64.b64decode(one) for one in told["data"]] if told["datatype"] == "BYTES" else told["data"]
    array = np.empty(told["shape"], DTYPES[told["datatype"]])
    array.reshape(-1)[:] = data
    made = library.InferInput(told["name"], told["shape"], told["datatype"])
    made.set_data_from_numpy(array, **how)
    return made


def plain(array: np.ndarray[Any, Any]) -> Any:
    """Nested lists of numbers and texts."""
    if array.dtype == object:
        flat = [one.decode() if isinstance(one, bytes) else one for one in array.reshape(-1)]
        array = np.array(flat, object).reshape(array.shape)
    nested: list[Any] = array.tolist()
    return nested


def main(http: str, grpc: str) -> None:
    asked = json.load(sys.stdin)
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "HTTP": lambda: ask(tritonclient.http, http, asked),
        "HTTP, binary named": lambda: ask(tritonclient.http, http, asked, binary_data=True),
        "gRPC": lambda: ask(tritonclient.grpc, grpc, asked),
    }
    if asked.get("as_json"):
        ways["HTTP, JSON"] = lambda: ask(tritonclient.http, http, asked, binary_data=False)
    print(json.dumps({way: call() for way, call in ways.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
