"""An error's class and its fields in the trailing metadata of a gRPC call, as google.rpc.Status has them.

A gRPC status stands for several classes of errors: RESOURCE_EXHAUSTED for what is too large and for what may be sent
again. So ErrorInfo has the class as `reason`, such as PAYLOAD_TOO_LARGE, and BadRequest has the fields.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import grpc
from google.protobuf.message import DecodeError

from common import errors
from common.errors import FieldError, ServingError
from common.protocol.grpc import error_details_pb2 as pb

KEY = "grpc-status-details-bin"
DOMAIN = "serving-patterns"
_TYPES = "type.googleapis.com/google.rpc."
_MOST_TEXT = 300  # characters of a field or a reason
_MOST_BYTES = 1200  # of the fields: clients refuse trailing metadata of more than 8 KiB, which has other values too
_BOUNDARY = re.compile(r"(?<=[a-z])(?=[A-Z])")


class StatusDetails(NamedTuple):
    """What a server of this project states of an error: its class, and the fields of a request that are wrong."""

    kind: type[ServingError]
    fields: tuple[FieldError, ...] = ()


def reason_of(kind: type[ServingError]) -> str:
    """The reason that stands for a class of errors."""
    return _BOUNDARY.sub("_", kind.__name__).upper()


_KINDS = {
    reason_of(kind): kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServingError)
}


def encode_details(error: ServingError, message: str) -> bytes:
    """The details of an error whose call ends with this message. Of many fields, the first ones."""
    code: int = grpc.StatusCode[error.grpc_code].value[0]
    info = pb.ErrorInfo(reason=reason_of(type(error)), domain=DOMAIN)
    status = pb.Status(code=code, message=message, details=[_detail("ErrorInfo", info.SerializeToString())])
    bad = pb.BadRequest()
    for one in error.fields:
        bad.field_violations.add(field=one.field[:_MOST_TEXT], description=one.reason[:_MOST_TEXT])
        if bad.ByteSize() > _MOST_BYTES:
            del bad.field_violations[-1]
            break
    if bad.field_violations:
        status.details.append(_detail("BadRequest", bad.SerializeToString()))
    return status.SerializeToString()


def _detail(name: str, value: bytes) -> pb.Detail:
    return pb.Detail(type_url=_TYPES + name, value=value)


def decode_details(raw: object) -> StatusDetails | None:
    """The details in trailing metadata; None when there are none, or those of a server of another project."""
    if not isinstance(raw, bytes):
        return None
    kind, fields = None, list[FieldError]()
    try:
        for detail in pb.Status.FromString(raw).details:
            if detail.type_url == _TYPES + "ErrorInfo":
                info = pb.ErrorInfo.FromString(detail.value)
                kind = _KINDS.get(info.reason) if info.domain == DOMAIN else None
            elif detail.type_url == _TYPES + "BadRequest":
                found = pb.BadRequest.FromString(detail.value).field_violations
                fields += [FieldError(one.field, one.description) for one in found]
    except DecodeError:
        return None
    return StatusDetails(kind, tuple(fields)) if kind is not None else None
