"""Sends a page to serial with tritonclient: `python tests/clients/triton_page.py HTTP_ADDRESS GRPC_ADDRESS FILE`.

A separate process, because tritonclient's generated classes have the same protobuf names as ours. Prints the
response of each protocol as one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http


def infer(triton: Any, address: str, file: bytes) -> dict[str, Any]:
    with triton.InferenceServerClient(address) as client:
        image = triton.InferInput("image", [1], "BYTES")
        image.set_data_from_numpy(np.array([file], object))
        answer = client.infer("serial", [image], request_id="seven", timeout=10)
        return {
            "alive": [client.is_server_live(), client.is_server_ready(), client.is_model_ready("serial")],
            "texts": [text.decode() for text in answer.as_numpy("texts")],
            "read_by": [by.decode() for by in answer.as_numpy("read_by")],
            "confidences": answer.as_numpy("confidences").tolist(),
            "boxes": answer.as_numpy("boxes").tolist(),
            "shape": list(answer.as_numpy("boxes").shape),
        }


def main(http: str, grpc: str, file: str) -> None:
    page = Path(file).read_bytes()
    print(json.dumps({"HTTP": infer(tritonclient.http, http, page), "gRPC": infer(tritonclient.grpc, grpc, page)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
