"""Requests that are built by hand are what the protocol says, and answers are read as they were meant."""

from pathlib import Path

import numpy as np

from bench import messages
from bench.messages import Model
from common.protocol.grpc import oip_pb2

MODEL = Model("iris", Path("model.onnx"), "features")


def test_a_grpc_request_is_read_by_the_generated_classes() -> None:
    tensor = messages.image_tensors(1)[0]
    request = oip_pb2.ModelInferRequest.FromString(messages.grpc_request(MODEL, tensor))
    assert request.model_name == "iris"
    assert [(one.name, one.datatype, list(one.shape)) for one in request.inputs] == [
        ("features", "FP32", [1, 3, 224, 224])
    ]
    assert request.raw_input_contents[0] == tensor.tobytes()


def test_a_grpc_answer_is_read_by_the_names_of_its_tensors() -> None:
    answer = oip_pb2.ModelInferResponse(model_name="iris", model_version="1", id="x")
    answer.outputs.add(name="probabilities", datatype="FP32", shape=[1, 3])
    answer.outputs.add(name="label", datatype="INT64", shape=[1])
    answer.raw_output_contents.extend([np.array([0.5, 0.25, 0.25], "<f4").tobytes(), np.array([300], "<i8").tobytes()])
    outputs = messages.read_grpc(answer.SerializeToString())
    assert outputs["probabilities"].tolist() == [0.5, 0.25, 0.25]
    assert outputs["label"].tolist() == [300]


def test_an_http_answer_is_read_in_json_and_in_binary() -> None:
    assert messages.read_http(b'{"outputs":[{"name":"y","datatype":"FP32","data":[[1.5,2]]}]}', None)["y"].tolist() == [
        1.5,
        2.0,
    ]
    header = (
        b'{"outputs":[{"name":"a","datatype":"FP32","parameters":{"binary_data_size":8}},'
        b'{"name":"b","datatype":"INT64","parameters":{"binary_data_size":8}}]}'
    )
    body = header + np.array([1.5, 2], "<f4").tobytes() + np.array([7], "<i8").tobytes()
    outputs = messages.read_http(body, len(header))
    assert (outputs["a"].tolist(), outputs["b"].tolist()) == ([1.5, 2.0], [7])


def test_a_binary_request_says_where_its_header_ends() -> None:
    tensor = messages.image_tensors(1)[0]
    body, headers = messages.binary_body(MODEL, tensor)
    assert body[int(headers[messages.HEADER_LENGTH]) :] == tensor.tobytes()


def test_inputs_are_the_same_in_every_run_and_differ_among_each_other() -> None:
    rows = messages.iris_rows(32)
    assert [row.tolist() for row in rows] == [row.tolist() for row in messages.iris_rows(32)]
    assert len({row.tobytes() for row in rows}) > 30
    assert messages.json_body(MODEL, np.array([[5.1, 3.5, 1.4, 0.2]], np.float32))[0].endswith(
        b'"data":[5.1,3.5,1.4,0.2]}]}'
    )
