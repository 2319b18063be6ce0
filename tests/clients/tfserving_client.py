"""Calls the gRPC API of TensorFlow Serving: `python -m tests.clients.tfserving_client ADDRESS MODEL [FEATURES]`.

It uses `tensorflow-serving-api` if that is installed (it needs TensorFlow), else the stubs generated from our .proto
files, which have the same names and field numbers. A process can load only one of them, so this is a separate process.

It reads the model's signature, creates an input for it and prints the response of each call as one JSON object.
FEATURES is one example as a JSON object, for Classify and Regress.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np

APIS = ("classification", "get_model_metadata", "get_model_status", "inference", "predict", "regression")
OURS = ("tfserving_pb2", "tfserving_pb2_grpc", "tfserving_tensor_pb2")
DTYPES = {"DT_FLOAT": np.float32, "DT_INT64": np.int64, "DT_UINT8": np.uint8}
LISTS = {"DT_FLOAT": "float_val", "DT_INT64": "int64_val", "DT_UINT8": "int_val", "DT_STRING": "string_val"}
ROWS = 2


def _stubs() -> tuple[str, SimpleNamespace, Any]:
    """A description of the stubs, their classes by name, and the TensorFlow module if it is installed."""
    if find_spec("tensorflow_serving") is None:
        return "our own", _classes(f"common.protocol.grpc.{name}" for name in OURS), None
    tensorflow = import_module("tensorflow")
    apis = [f"tensorflow_serving.apis.{name}_pb2" for name in APIS]
    services = [f"tensorflow_serving.apis.{name}_service_pb2_grpc" for name in ("prediction", "model")]
    core = [f"tensorflow.core.{name}_pb2" for name in ("example.example", "framework.tensor", "framework.types")]
    known = f"tensorflow-serving-api with TensorFlow {tensorflow.__version__}"
    return known, _classes([*apis, *services, *core]), tensorflow


def _classes(modules: Iterable[str]) -> SimpleNamespace:
    found = (item for name in modules for item in vars(import_module(name)).items())
    return SimpleNamespace(**{name: value for name, value in found if name[0] != "_"})


STUBS, pb, tensorflow = _stubs()


class Client:
    """A client of PredictionService and ModelService for one model."""

    def __init__(self, channel: grpc.Channel, model: str) -> None:
        self.prediction = pb.PredictionServiceStub(channel)
        self.model_service = pb.ModelServiceStub(channel)
        self.spec = {"name": model}

    def status(self) -> Any:
        answer = self.model_service.GetModelStatus(pb.GetModelStatusRequest(model_spec=self.spec), timeout=10)
        states = pb.ModelVersionStatus.State
        return [[one.version, states.Name(one.state), one.status.error_code] for one in answer.model_version_status]

    def signatures(self) -> Any:
        request = pb.GetModelMetadataRequest(model_spec=self.spec, metadata_field=["signature_def"])
        answer = self.prediction.GetModelMetadata(request, timeout=10)
        found = pb.SignatureDefMap()
        assert answer.metadata["signature_def"].Unpack(found)
        return found.signature_def

    def predict(self, inputs: dict[str, Any], **more: Any) -> Any:
        request = pb.PredictRequest(model_spec=self.spec, inputs=inputs, **more)
        answer = self.prediction.Predict(request, timeout=20)
        return {
            "model": [answer.model_spec.name, answer.model_spec.version.value, answer.model_spec.signature_name],
            "outputs": {name: _to_json(tensor) for name, tensor in sorted(answer.outputs.items())},
        }

    def examples(self, features: dict[str, float]) -> dict[str, Any]:
        """Call Classify and Regress with two equal examples. Their features override the feature in the context."""
        own, context = _example(features), _example(dict.fromkeys(list(features)[:1], 0.0))
        given = {"example_list_with_context": {"examples": [own, own], "context": context}}
        classify = pb.ClassificationRequest(model_spec=self.spec, input=given)
        regress = pb.RegressionRequest(model_spec=self.spec, input=given)
        return {
            "classify": _status_or(lambda: _results(self.prediction.Classify(classify, timeout=10))),
            "regress": _status_or(lambda: _results(self.prediction.Regress(regress, timeout=10))),
        }


def _example(features: dict[str, float]) -> Any:
    values = {name: {"float_list": {"value": [value]}} for name, value in features.items()}
    return pb.Example(features={"feature": values})


def _results(answer: Any) -> Any:
    if hasattr(answer.result, "classifications"):
        return [[[one.label, one.score] for one in row.classes] for row in answer.result.classifications]
    return [one.value for one in answer.result.regressions]


def _to_json(tensor: Any) -> dict[str, Any]:
    name = pb.DataType.Name(tensor.dtype)
    values = list(getattr(tensor, LISTS[name]))  # the field that clients read without tf.make_ndarray
    shape = [one.size for one in tensor.tensor_shape.dim]
    if tensorflow is not None:
        assert tensorflow.make_ndarray(tensor).reshape(-1).tolist() == values
    texts = [one.decode() if isinstance(one, bytes) else one for one in values]
    return {"dtype": name, "shape": shape, "values": texts}


def _inputs(signature: Any) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
    """Inputs with numbers from 0 to 1 in the shapes of the signature. A dynamic dimension has the size 2."""
    arrays, dtypes = {}, {}
    for name, info in signature.inputs.items():
        shape = [ROWS if one.size == -1 else one.size for one in info.tensor_shape.dim]
        dtypes[name] = pb.DataType.Name(info.dtype)
        numbers = np.linspace(0, 1, math.prod(shape)).reshape(shape)
        arrays[name] = (numbers if dtypes[name] != "DT_UINT8" else numbers * 255).astype(DTYPES[dtypes[name]])
    return arrays, dtypes


def _tensor(array: np.ndarray[Any, Any], dtype: str, *, content: bool) -> Any:
    if content and tensorflow is not None:
        return tensorflow.make_tensor_proto(array)
    values = {"tensor_content": array.tobytes()} if content else {LISTS[dtype]: array.reshape(-1).tolist()}
    shape = {"dim": [{"size": size} for size in array.shape]}
    return pb.TensorProto(dtype=dtype, tensor_shape=shape, **values)


def _status_or(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except grpc.RpcError as error:
        return error.code().name


def main(address: str, model: str, features: dict[str, float]) -> dict[str, Any]:
    """The response of every call, or the name of its status code."""
    limit = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address, options=limit) as channel:
        client = Client(channel, model)
        signatures = client.signatures()
        arrays, dtypes = _inputs(signatures["serving_default"])
        content = {name: _tensor(array, dtypes[name], content=True) for name, array in arrays.items()}
        typed = {name: _tensor(array, dtypes[name], content=False) for name, array in arrays.items()}
        main_output = min(signatures["serving_default"].outputs)
        return {
            "stubs": STUBS,
            "status": client.status(),
            "methods": {name: one.method_name for name, one in sorted(signatures.items())},
            "content": client.predict(content),
            "typed": client.predict(typed),
            "filtered": client.predict(content, output_filter=[main_output]),
            "nothing": _status_or(lambda: client.predict({})),
            "unknown model": _status_or(Client(channel, "tulips").status),
            "multi": _status_or(lambda: client.prediction.MultiInference(pb.MultiInferenceRequest(), timeout=10)),
            **(client.examples(features) if features else {}),
        }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]) if len(sys.argv) > 3 else {})))
