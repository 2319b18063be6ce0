"""POST /predict: takes rows of named features, or ids of stored items, returns a combined prediction of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import msgspec
import orjson

from common import RELEASE
from common.client import PredictorClient
from common.composition.flow import Gathered
from common.endpoints.large import decoded, encoded
from common.errors import InvalidInput
from common.http.reply import Reply
from common.protocol.json_body import Payload, check_json, decode_json
from common.protocol.rows import check_size, explain_error, rows_to_array
from common.protocol.tensors import Array
from common.request.context import RequestContext
from common.request.disconnect import cancel_on_disconnect
from patterns.parallel.aggregate import predictions
from patterns.parallel.composition import Parallel, reasons
from patterns.parallel.ensemble import Calls
from patterns.parallel.feature_store import FeatureStore
from patterns.parallel.member import MemberResponse
from patterns.parallel.settings import AGGREGATIONS, Aggregation

PATH = "/predict"


class EnsembleRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Rows of named numbers, or ids of items in the feature store. `aggregate` overrides the setting."""

    instances: list[dict[str, float]] = []
    items: list[str] = []
    aggregate: Aggregation | None = None


_RESPONSES = {
    "200": "A prediction for each row, and the models that made it",
    "400": "A value is not valid; the response names it",
    "502": "A predictor failed; the response names it",
    "503": "Too few predictors can answer, or the feature store cannot",
    "504": "The deadline passed",
}
_ROUTES = {
    PATH: "Predict with all predictors",
    f"{PATH}/stream": "The same as a stream: each predictor's answer when it arrives, then the combined one",
}
_request = msgspec.json.Decoder(EnsembleRequest)


class EnsembleRoute:
    """POST /predict. `fetching`: a client for each predictor that reads features from the store itself."""

    def __init__(
        self, parallel: Parallel, store: FeatureStore | None, fetching: Mapping[str, PredictorClient], max_rows: int
    ) -> None:
        self.parallel, self._store, self._fetching, self._max_rows = parallel, store, fetching, max_rows

    def match(self, path: str) -> bool:
        return path == PATH

    async def handle(self, context: RequestContext, body: Payload) -> Reply:
        context.route = PATH
        async with cancel_on_disconnect(context):
            calls, aggregation = await self.prepare_calls(context, body)
            found = await self.parallel.gather(context, calls)
        start = perf_counter()
        answer = await encoded(context, answer_size(found), encoded_answer, found, aggregation)
        context.stages["encode"] = (perf_counter() - start) * 1e3
        return Reply(200, answer)

    async def prepare_calls(self, context: RequestContext, body: Payload) -> tuple[Calls, Aggregation]:
        """Decodes a request; returns the calls, not started yet, and the aggregation of their responses."""
        context.model = self.parallel.name
        check_json(context.headers)
        ensemble = self.parallel.ensemble
        ensemble.skipped()  # raises NotReady when too few predictors can be called
        context.deadline.check("the predictors were asked")
        columns = ensemble.columns
        exact = not ensemble.unusable  # while metadata are unknown, a feature may belong to that predictor
        request, rows = await decoded(context, len(body), self._decoded, body, columns, exact)
        aggregation = request.aggregate or self.parallel.aggregation
        if request.items:
            return await self._calls_by_item(context, request.items), aggregation
        context.stages["decode"] = (perf_counter() - context.started) * 1e3
        return ensemble.calls(context, rows, columns, self.parallel.via), aggregation

    def _decoded(self, body: Payload, columns: Sequence[str], exact: bool) -> tuple[EnsembleRequest, Array]:
        """The request, and the array of its rows. Raises InvalidInput."""
        check_size(body, columns, self._max_rows)
        try:
            request = decode_json(_request, body)
        except InvalidInput as error:
            raise _explained(error, body, columns, exact) from None
        if bool(request.instances) == bool(request.items):
            found = "both" if request.items else "neither"
            raise InvalidInput.at("instances", f"expected either rows here or ids in `items`, got {found}")
        at, count = ("items", len(request.items)) if request.items else ("instances", len(request.instances))
        if count > self._max_rows:
            raise InvalidInput.at(at, f"expected at most {self._max_rows} rows, got {count}")
        rows = [] if request.items else request.instances
        return request, rows_to_array(rows, columns, exact=exact)

    async def _calls_by_item(self, context: RequestContext, ids: list[str]) -> Calls:
        ensemble, columns = self.parallel.ensemble, self.parallel.ensemble.columns
        if self._fetching:
            return ensemble.calls_by_item(context, self._fetching, ids)
        if self._store is None:
            raise InvalidInput.at("items", "this service has no feature store (REDIS_URL); send `instances`")
        rows = await self._store.rows(context, ids, columns)
        return ensemble.calls(context, rows, columns, self.parallel.via)

    def document(self) -> dict[str, Any]:
        """The OpenAPI document of this route and of the stream, whose request bodies are the same."""
        refs, schemas = msgspec.json.schema_components((EnsembleRequest,), ref_template="#/components/schemas/{name}")
        example = {"instances": [dict.fromkeys(self.parallel.ensemble.columns, 1.5)]}
        body = {"required": True, "content": {"application/json": {"schema": refs[0], "example": example}}}
        answers = {code: {"description": text} for code, text in _RESPONSES.items()}
        both = {"tags": ["predict"], "requestBody": body, "responses": answers}
        paths = {path: {"post": {**both, "summary": summary}} for path, summary in _ROUTES.items()}
        return {"paths": paths, "components": {"schemas": schemas}}


def _explained(error: InvalidInput, body: Payload, columns: Sequence[str], exact: bool) -> InvalidInput:
    """The error with the aggregations that there are, or with the values that are not numbers."""
    (found,) = error.fields
    if found.field == "aggregate":
        return InvalidInput.at("aggregate", f"expected one of {', '.join(AGGREGATIONS)}: {found.reason}")
    return explain_error(error, body, columns, exact=exact)


def answer_size(found: Gathered[MemberResponse]) -> int:
    """About the bytes of the response body."""
    return sum(answer.json_size() for answer in found.answers.values())


def encoded_answer(found: Gathered[MemberResponse], aggregation: Aggregation) -> bytes:
    """The response body as JSON."""
    return orjson.dumps(response_body(found, aggregation), option=orjson.OPT_SERIALIZE_NUMPY)


def response_body(found: Gathered[MemberResponse], aggregation: Aggregation) -> dict[str, Any]:
    """The response body: a prediction for each row, the models that made it, and the missing predictors."""
    answers = found.answers
    classifiers = {name: answer for name, answer in answers.items() if answer.member.labels}
    rows: list[dict[str, Any]] = [{} for _ in next(iter(answers.values())).array]
    if classifiers:
        labels = next(iter(classifiers.values())).member.labels
        rows = predictions(aggregation, {name: answer.array for name, answer in classifiers.items()}, labels)
    for name, answer in answers.items():
        if not answer.member.labels:
            for row, value in zip(rows, answer.array, strict=True):
                row[name] = value
    whole = {
        "predictions": rows,
        "missing": reasons(found),
        "models": {name: answer.model for name, answer in answers.items()},
        "release": RELEASE,
    }
    if aggregation == "all":
        whole["answers"] = {name: answer.as_rows() for name, answer in answers.items()}
    return whole
