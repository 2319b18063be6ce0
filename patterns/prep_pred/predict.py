"""POST /predict/{model}: takes an image, or instances as JSON, returns labels with probabilities."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
import orjson

from common import RELEASE
from common.composition.backend import CompositionBackend
from common.endpoints.backend import InferRequest
from common.endpoints.large import decoded, encoded, rows_size
from common.errors import FieldError, InvalidInput, PayloadTooLarge, UnsupportedMedia, UpstreamFailed
from common.http.reply import Reply
from common.preprocessing.fields import wrong_fields
from common.protocol.json_body import Payload, decode_json
from common.protocol.media import JSON, PICTURES, stated_media
from common.protocol.tensors import Array
from common.protocol.values import OIP_INSTEAD, check_json_numbers
from common.request.context import RequestContext
from common.request.disconnect import cancel_on_disconnect
from patterns.prep_pred.pairs import Pair
from patterns.prep_pred.preparing import INSTANCES

PATH = "/predict/{model}"
EXAMPLES: dict[str, Any] = {
    "iris_standardised": {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2},
    "penguins": {"island": "Biscoe", "bill_length_mm": 46.1, "flipper_length_mm": 211},
    "text_language": "Saisissez un nouveau mot de passe",
    "message_topic_ja": "このパスワードは数字しか使われていません。",
}


AnyValue = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"description": "A value of any type."})]


class RawInputRequest(msgspec.Struct):
    """Rows of named values, or texts."""

    instances: list[dict[str, AnyValue] | str]


_request = msgspec.json.Decoder(RawInputRequest)


class RawInputRoute:
    """POST /predict/{model} for every pair. A prediction has the `top` most probable labels."""

    def __init__(self, pairs: CompositionBackend[Pair], top: int) -> None:
        self._pairs, self._top = pairs, top

    def match(self, path: str) -> bool:
        parent, _, model = path.rpartition("/")
        return parent == "/predict" and bool(model)

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        context.route, name = PATH, context.path.rpartition("/")[2]
        pair = self._pairs.resolve(name)
        context.model = name
        picture = _takes_picture(context, pair)
        given = await decoded(context, len(body), _instances, picture, body, context.most_rows)
        async with cancel_on_disconnect(context):
            try:
                response = await pair.infer(InferRequest(context, pair, {INSTANCES.name: given}))
            except InvalidInput as error:
                raise as_sent(picture, error) from None
            version, outputs = response.model_version, response.outputs
            labels = await pair.labels(context, version)
        main = pair.outputs[0].name
        if (shape := outputs[main].shape) != (len(given), len(labels)):
            raise UpstreamFailed(
                f"the predictor returned {main} of shape {list(shape)}, expected {[len(given), len(labels)]}"
            )
        check_json_numbers(outputs[main], main, OIP_INSTEAD)
        told = {"model_name": name, "model_version": version, "release": RELEASE}
        size = rows_size(len(given), labels[: self._top])
        return Reply(200, await encoded(context, size, _encoded, main, outputs[main], labels, self._top, told))

    def document(self) -> dict[str, Any]:
        files = {media: {"schema": {"type": "string", "format": "binary"}} for media in PICTURES}
        offered = EXAMPLES.keys() & set(self._pairs.models())
        examples = {name: {"value": {"instances": [EXAMPLES[name]]}} for name in sorted(offered)}
        rows = {"schema": msgspec.json.schema(RawInputRequest), "examples": examples}
        invalid = {"schema": {"$ref": "#/components/schemas/HTTPValidationError"}}
        operation = {
            "tags": ["predict"],
            "summary": "Predict from an image, from values or from a text",
            "operationId": "predict_predict__model__post",
            "parameters": [
                {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "title": "Model"}}
            ],
            "requestBody": {"required": True, "content": {**files, JSON: rows}},
            "responses": {
                "200": {"description": "Successful Response", "content": {JSON: {"schema": {}}}},
                "422": {"description": "Validation Error", "content": {JSON: invalid}},
            },
        }
        return {"paths": {PATH: {"post": operation}}, "components": {"schemas": {}}}


def _takes_picture(context: RequestContext, pair: Pair) -> bool:
    """Whether the body is a picture: as its Content-Type says, or else as the model takes pictures."""
    media = stated_media(context.headers, (*PICTURES, JSON))
    return media in PICTURES if media else pair.properties.get("kind") == "picture"


def _instances(picture: bool, body: Payload, most_rows: int) -> Array:
    """The elements of INSTANCES: the body itself when it is a picture, else the instances in its JSON."""
    if picture:
        return np.array([bytes(body)], object)
    listed = decode_json(_request, body).instances
    if not listed:
        raise InvalidInput.at("instances", "is empty; send at least one")
    if len(listed) > most_rows:
        raise PayloadTooLarge.at("instances", f"expected at most {most_rows}, got {len(listed)}")
    return np.array([one.encode() if isinstance(one, str) else msgspec.json.encode(one) for one in listed], object)


def as_sent(picture: bool, error: InvalidInput) -> InvalidInput:
    """The error of an instance as that of the request: a picture is the body itself, and JSON is a known media type."""
    if picture:
        prefix = f"{INSTANCES.name}[0]."
        return wrong_fields(
            [FieldError(one.field.removeprefix(prefix), one.reason) for one in error.fields], type(error)
        )
    return InvalidInput(error.detail, fields=error.fields) if isinstance(error, UnsupportedMedia) else error


def _encoded(name: str, scores: Array, labels: list[str], top: int, told: dict[str, str]) -> bytes:
    return orjson.dumps({"predictions": _predictions(name, scores, labels, top), **told})


def _predictions(name: str, scores: Array, labels: list[str], top: int) -> list[dict[str, Any]]:
    """The most probable labels of each row of a model's first output. Logits become probabilities by a softmax."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True) if name == "logits" else scores
    best = [row.argsort(kind="stable")[::-1][:top].tolist() for row in shares]
    return [
        {"label": labels[order[0]], "probabilities": {labels[one]: float(row[one]) for one in order}}
        for order, row in zip(best, shares, strict=True)
    ]
