"""Calls an image model with tritonclient: `python triton_pictures.py HTTP GRPC MODEL ARRAYS.npz`; prints JSON.

A separate process, because tritonclient's generated classes have the same protobuf names as ours.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http


def infer(library: Any, address: str, model: str, arrays: Any) -> dict[str, Any]:
    """Every output by name, as lists. BYTES are decoded."""
    (name,) = arrays.files
    with library.InferenceServerClient(address) as client:
        datatype = {"float32": "FP32", "uint8": "UINT8"}[arrays[name].dtype.name]
        tensor = library.InferInput(name, arrays[name].shape, datatype)
        tensor.set_data_from_numpy(arrays[name])
        metadata = client.get_model_metadata(model)
        outputs = metadata["outputs"] if isinstance(metadata, dict) else metadata.outputs
        names = [one["name"] if isinstance(one, dict) else one.name for one in outputs]
        answer = client.infer(model, [tensor])
        return {one: to_list(answer.as_numpy(one)) for one in names}


def to_list(array: Any) -> Any:
    if array.dtype == np.object_:
        return [[one.decode() for one in row] for row in array]
    return array.tolist()


def main() -> None:
    http, grpc, model, path = sys.argv[1:]
    with np.load(path) as arrays:
        answers = {
            "http": infer(tritonclient.http, http, model, arrays),
            "grpc": infer(tritonclient.grpc, grpc, model, arrays),
        }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
