"""ONNX Runtime alone: the model called in a loop with a tensor that lies ready in memory. No server can be quicker.

`python -m bench.rivals.ort_alone MODEL_FILE` takes a `Plan` whose one request is a raw FP32 tensor of shape SHAPE, and
answers a `Result`, as the load generators do.
"""

import gc
import sys
import time

import msgspec
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bench.plan import Clock, Plan, sum_up
from bench.rivals.bare import single_threaded

SHAPE = (1, 3, 224, 224)


def expected_outputs(model_file: str, tensor: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    """What the model itself answers to a tensor, by the name of the output: what every server has to answer too."""
    session = single_threaded(model_file)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: tensor}), strict=True))


def call_for(session: ort.InferenceSession, tensor: NDArray[np.float32], seconds: float) -> list[float]:
    """Call the model again and again for a while; the seconds each call took."""
    name, durations, now = session.get_inputs()[0].name, [], time.perf_counter()
    end = now + seconds
    while now < end:
        began = now
        session.run(None, {name: tensor})
        now = time.perf_counter()
        durations.append(now - began)
    return durations


def main() -> None:
    """The process: plan in, result out."""
    plan = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)
    session, tensor = single_threaded(sys.argv[1]), np.frombuffer(plan.requests[0], np.float32).reshape(SHAPE)
    gc.disable()  # as in the load generators
    call_for(session, tensor, plan.warm_up_seconds)
    began = Clock.now()
    durations = call_for(session, tensor, plan.seconds)
    result = sum_up(len(durations), began, Clock.now(), durations, {})
    alone = msgspec.structs.replace(result, server_cpu=result.busy * result.seconds / result.answered)
    sys.stdout.buffer.write(msgspec.json.encode(alone))


if __name__ == "__main__":
    main()
