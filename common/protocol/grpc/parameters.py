"""Parameters of the Open Inference Protocol, from Python to protobuf and back."""

from __future__ import annotations

from common.protocol.grpc import oip_pb2 as pb

Value = bool | int | float | str


def parameter(value: Value) -> pb.InferParameter:
    """A value as its type has it."""
    if isinstance(value, bool):
        return pb.InferParameter(bool_param=value)
    if isinstance(value, int):
        return pb.InferParameter(int64_param=value)
    if isinstance(value, float):
        return pb.InferParameter(double_param=value)
    return pb.InferParameter(string_param=value)


def parameter_value(parameter: pb.InferParameter) -> Value | None:
    """The value that is set; None where none is."""
    which = parameter.WhichOneof("parameter_choice")
    value: Value | None = getattr(parameter, which) if which else None
    return value
