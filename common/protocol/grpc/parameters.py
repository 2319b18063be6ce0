"""Converts parameters of the Open Inference Protocol between Python and protobuf."""

from __future__ import annotations

from common.protocol.grpc import oip_pb2 as pb

Value = bool | int | float | str


def parameter(value: Value) -> pb.InferParameter:
    """The protobuf message for a value, in the field of its type."""
    if isinstance(value, bool):
        return pb.InferParameter(bool_param=value)
    if isinstance(value, int):
        return pb.InferParameter(int64_param=value)
    if isinstance(value, float):
        return pb.InferParameter(double_param=value)
    return pb.InferParameter(string_param=value)


def parameter_value(parameter: pb.InferParameter) -> Value | None:
    """The value of a message; None when no field is set."""
    which = parameter.WhichOneof("parameter_choice")
    value: Value | None = getattr(parameter, which) if which else None
    return value
