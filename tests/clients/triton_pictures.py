"""Asks a picture model with tritonclient: `python triton_pictures.py HTTP GRPC MODEL ARRAYS.npz`; prints JSON.

A process of its own, because tritonclient brings generated classes under the same protobuf names as ours.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http


def ask(library: Any, address: str, model: str, arrays: Any) -> dict[str, Any]:
    """Every output by name, as lists; texts decoded."""
    (name,) = arrays.files
    with library.InferenceServerClient(address) as client:
        datatype = {"float32": "FP32", "uint8": "UINT8"}[arrays[name].dtype.name]
        given = library.InferInput(name, arrays[name].shape, datatype)
        given.set_data_from_numpy(arrays[name])
        metadata = client.get_model_metadata(model)
        outputs = metadata["outputs"] if isinstance(metadata, dict) else metadata.outputs
        names = [one["name"] if isinstance(one, dict) else one.name for one in outputs]
        answer = client.infer(model, [given])
        return {one: plain(answer.as_numpy(one)) for one in names}


def plain(array: Any) -> Any:
    if array.dtype == np.object_:
        return [[one.decode() for one in row] for row in array]
    return array.tolist()


def main() -> None:
    http, grpc, model, path = sys.argv[1:]
    with np.load(path) as arrays:
        answers = {
            "http": ask(tritonclient.http, http, model, arrays),
            "grpc": ask(tritonclient.grpc, grpc, model, arrays),
        }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
