"""TensorProto as TensorFlow reads and writes it; the messages that are bytes here were made by TensorFlow 2.21."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInput, PayloadTooLarge
from common.protocol.grpc import tfserving_pb2 as pb
from common.protocol.grpc import tfserving_tensor_pb2 as tensor_pb
from common.protocol.grpc.tfserving_tensors import decode, encode, tensor_info
from common.protocol.tensors import DATATYPES, Array
from tests.unit.common.protocol import request_bodies
from tests.unit.common.protocol.request_bodies import same, spec


def proto(dtype: str, *shape: int, **values: Any) -> tensor_pb.TensorProto:
    sizes = [tensor_pb.TensorShapeProto.Dim(size=size) for size in shape]
    return tensor_pb.TensorProto(dtype=dtype, tensor_shape=tensor_pb.TensorShapeProto(dim=sizes), **values)


def read(tensor: tensor_pb.TensorProto) -> Array:
    return decode(tensor, "inputs['x']", 1000)


def refusal(tensor: tensor_pb.TensorProto) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(tensor)
    return caught.value.detail


@pytest.mark.parametrize("datatype", DATATYPES)
@given(st.data())
def test_every_datatype_survives_a_round_trip(datatype: str, data: st.DataObject) -> None:
    array = data.draw(request_bodies.arrays(datatype))
    assert same(decode(tensor_pb.TensorProto.FromString(encode(array).SerializeToString()), "x", 100_000), array)


@pytest.mark.parametrize("datatype", request_bodies.NUMERIC)
@given(st.data())
def test_every_number_is_read_out_of_tensor_content(datatype: str, data: st.DataObject) -> None:
    array = data.draw(request_bodies.arrays(datatype))
    tensor = encode(array)
    values = next(name.name for name, _ in tensor.ListFields() if name.name.endswith("_val"))
    tensor.ClearField(values)
    tensor.tensor_content = array.tobytes()
    assert same(decode(tensor, "x", 100_000), array)


@pytest.mark.parametrize(
    ("tensor", "values"),
    [
        (proto("DT_FLOAT", 2, 2, float_val=[7]), [[7, 7], [7, 7]]),
        (proto("DT_FLOAT", 2, 2, float_val=[1, 2]), [[1, 2], [2, 2]]),
        (proto("DT_FLOAT", 2), [0, 0]),
        (proto("DT_FLOAT", float_val=[7]), 7),
        (proto("DT_FLOAT", 1, float_val=[5], tensor_content=b"\0\0\x80\x3f"), [1]),
        (proto("DT_HALF", 2, half_val=[0x3C00]), [1, 1]),
        (proto("DT_STRING", 3, string_val=[b"one", b"two\0"]), [b"one", b"two\0", b"two\0"]),
        (proto("DT_STRING", 2), [b"", b""]),
        (proto("DT_BOOL", 2, bool_val=[True]), [True, True]),
    ],
)
def test_the_last_value_is_repeated_for_missing_ones(tensor: tensor_pb.TensorProto, values: Any) -> None:
    assert read(tensor).tolist() == values


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (proto("DT_FLOAT", 2, 2, float_val=range(5)), "float_val: expected at most 4 values for [2, 2], got 5"),
        (proto("DT_FLOAT", 2, double_val=[1, 2]), "double_val: the values of DT_FLOAT belong in float_val"),
        (proto("DT_FLOAT", 2, tensor_content=b"1234567"), "tensor_content: expected 8 bytes for [2], got 7"),
        (proto("DT_STRING", 1, tensor_content=b"\1a"), "tensor_content: expected strings in string_val"),
        (proto("DT_FLOAT", -1, float_val=[1]), "expected no negative dimension, got [-1]"),
        (proto("DT_FLOAT", *[1] * 17, float_val=[1]), "expected at most 16 dimensions, got 17"),
        (proto("DT_INT8", 1, int_val=[128]), "int_val: contains a value outside the range of INT8"),
        (proto("DT_UINT16", 1, int_val=[-1]), "int_val: contains a value outside the range of UINT16"),
        (proto("DT_HALF", 1, half_val=[65536]), "half_val: contains a value outside the range of FP16"),
        (proto("DT_INVALID", 1), "dtype: expected one of DT_FLOAT, DT_DOUBLE"),
        (proto("DT_BFLOAT16", 1), "dtype: expected one of DT_FLOAT, DT_DOUBLE"),
        (tensor_pb.TensorProto.FromString(b"\x08\x69"), "dtype: expected one of"),
        (tensor_pb.TensorProto(dtype="DT_FLOAT", tensor_shape={"unknown_rank": True}), "expected a known rank"),
    ],
)  # fmt: skip
def test_a_wrong_tensor_is_refused_by_field(tensor: tensor_pb.TensorProto, reason: str) -> None:
    assert reason in refusal(tensor)
    assert refusal(tensor).startswith("inputs['x']")


@pytest.mark.parametrize("shape", [(251,), (1 << 39,), (1 << 20, 1 << 19), (1 << 62, 0)])
def test_a_few_bytes_cannot_ask_for_much_memory(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(proto("DT_FLOAT", *shape, float_val=[1]))
    assert isinstance(caught.value, PayloadTooLarge) or "at most 1099511627776 elements" in caught.value.detail


def test_a_signature_says_what_goes_in() -> None:
    info = tensor_info(spec("FP32", -1, 4))
    assert (info.name, info.dtype, [one.size for one in info.tensor_shape.dim]) == ("x:0", tensor_pb.DT_FLOAT, [-1, 4])


# tf.make_tensor_proto of numpy.float32 [[1.5, -2], [0, 3]], in a PredictRequest of tensorflow-serving-api 2.21.0
REQUEST = bytes.fromhex(
    "0a1b0a0469726973120208031a0f73657276696e675f64656661756c74122a0a086665617475726573121e08011208120208"
    "021202080222100000c03f000000c000000000000040401a056c6162656c"
)
# a ClassificationRequest of the same, with an example and a context
CLASSIFICATION = bytes.fromhex(
    "0a0e0a04697269732206737461626c651240123e0a280a260a120a066c656e677468120812060a040000c03f0a100a046e61"
    "6d6512080a060a04726f736512120a100a0e0a05776964746812051a030a0102"
)


def test_a_request_made_with_tensorflow_is_read() -> None:
    request = pb.PredictRequest.FromString(REQUEST)
    assert (request.model_spec.name, request.model_spec.version.value) == ("iris", 3)
    assert request.model_spec.signature_name == "serving_default"
    assert list(request.output_filter) == ["label"]
    assert read(request.inputs["features"]).tolist() == [[1.5, -2], [0, 3]]
    assert request.SerializeToString(deterministic=True) == REQUEST


def test_examples_made_with_tensorflow_are_read() -> None:
    request = pb.ClassificationRequest.FromString(CLASSIFICATION)
    assert (request.model_spec.name, request.model_spec.version_label) == ("iris", "stable")
    listed = request.input.example_list_with_context
    assert listed.context.features.feature["width"].int64_list.value == [2]
    assert listed.examples[0].features.feature["length"].float_list.value == [1.5]
    assert listed.examples[0].features.feature["name"].bytes_list.value == [b"rose"]
