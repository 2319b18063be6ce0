"""ONNX Runtime alone: the model called in a loop with a tensor that is in memory. No server can be faster.

`python -m bench.rivals.ort_alone MODEL_FILE` takes a `Plan` whose one request is a raw FP32 tensor of the shape that
the model takes, and writes a `Result`, as the load generators do.
"""

import sys

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bench.rivals import alone
from bench.rivals.bare import single_threaded


def expected_outputs(model_file: str, tensor: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    """The model's outputs for a tensor, by output name: what every server has to return."""
    session = single_threaded(model_file)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: tensor}), strict=True))


def shaped(raw: bytes, session: ort.InferenceSession) -> NDArray[np.float32]:
    """The tensor in the shape of the model's input; a free dimension takes the remaining size."""
    sizes = session.get_inputs()[0].shape
    return np.frombuffer(raw, np.float32).reshape([size if isinstance(size, int) else -1 for size in sizes])


def main() -> None:
    """Read the plan from standard input, run it, write the result."""
    plan, session = alone.given(), single_threaded(sys.argv[1])
    inputs = {session.get_inputs()[0].name: shaped(plan.requests[0], session)}
    alone.report(plan, lambda: session.run(None, inputs))


if __name__ == "__main__":
    main()
