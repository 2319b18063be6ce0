"""Measurements of prep_pred: what it costs to send the tensor from one server to the other, in binary and in JSON."""

from typing import Any

import numpy as np
import orjson

from bench import messages
from bench.contestants import over_http, start_role, under_load
from bench.measure import Spread, difference, failures, p50_ms
from bench.messages import Model, http_request, post
from bench.plan import LOCAL, Plan
from bench.process import ROOT, BenchError, Server, ServerGroup
from bench.report import Number, Part, Setting
from bench.rivals.classify_alone import Classifier
from bench.rivals.ort_alone import expected_outputs
from bench.stages import RepeatedRequest, over_rounds
from bench.suite import Bench, PartRunner, Parts

CHAIN, ONE = "ours, prep and predictor", "both in one process"
BINARY, JSON = "the predictor asked in binary", "the predictor asked in JSON"
MODEL, TRIP_MILLISECONDS = "imagenet_lite0", 3.0
PHOTO = ROOT / "patterns" / "prep_pred" / "samples" / "chelsea.jpg"
PICTURE = {"Content-Type": "image/jpeg"}


def start_chain(bench: Bench, group: ServerGroup, model: Model) -> tuple[Server, Server]:
    """Start prep on the load's core (the load waits while prep works) and the predictor on the other core."""
    settings = {"MODEL": model.name, "MODEL_REPOSITORY": str(bench.repository)}
    predictor = start_role(group, "common.roles.predictor", settings)
    asked = {"PREDICTORS": f"predictor=http://{LOCAL}:{predictor.port}"}
    return start_role(group, "patterns.prep_pred.entry", settings | asked, (group.cores.load,)), predictor


def start_one(bench: Bench, group: ServerGroup, model: Model) -> Server:
    """Start the same preparation, model and backend in one process, which may use both cores."""
    settings = {"MODEL": model.name, "MODEL_REPOSITORY": str(bench.repository)}
    return start_role(group, "patterns.synchronous.api", settings, group.cores.both)


def top_label(server: Server, question: RepeatedRequest) -> str:
    """The most likely label that a server returns."""
    answer: dict[str, Any] = orjson.loads(post(server.port, question.path, question.body, question.headers))
    return str(answer["predictions"][0]["label"])


def trip_part(bench: Bench) -> Part:
    """Classify a photo with two servers and with one; the difference is the cost of the trip."""
    model, photo = bench.model(MODEL), PHOTO.read_bytes()
    two, one = RepeatedRequest(f"/predict/{MODEL}", photo, PICTURE), RepeatedRequest("/classify", photo, PICTURE)
    with bench.server_group() as group:
        (prep, predictor), single = start_chain(bench, group, model), start_one(bench, group, model)
        labels = {top_label(prep, two), top_label(single, one), Classifier(model.file.parent).classify(photo)[0][0]}
        if len(labels) > 1:
            raise BenchError(f"the same photo is {' and '.join(labels)}")
        for server in (prep, predictor, single):
            server.suspend()
        contestants = [
            under_load(CHAIN, group, prep, lone(prep, two), behind=[predictor]),
            under_load(ONE, group, single, lone(single, one)),
        ]
        setting = bench.compare(1, contestants, shared=True)
        stated = over_rounds([prep, predictor], two, lambda stages: stages["transfer"], bench.pace, bench.turn_done)
    return Part("trip", "A photo by two servers and by one", trip_numbers(setting, stated), [setting])


def lone(server: Server, question: RepeatedRequest) -> Plan:
    """Contestants with one request at a time."""
    request = http_request(question.path, question.body, question.headers)
    return Plan(port=server.port, requests=[request], connections=1, seconds=1.0)


def trip_numbers(setting: Setting, stated: Spread) -> list[Number]:
    """The cost of the trip as a client sees it and as Server-Timing reports it."""
    longer, failed = difference(setting.rounds, CHAIN, ONE, p50_ms), failures(setting.rounds, CHAIN, ONE)
    return [
        Number(
            "600 kB tensor, median latency: two servers beyond one", longer, TRIP_MILLISECONDS, False, " ms", failed
        ),
        Number("600 kB tensor: `transfer` in Server-Timing", stated, TRIP_MILLISECONDS, False, " ms"),
    ]


def json_part(bench: Bench) -> Part:
    """Send the tensor of that photo to the predictor, in binary and in JSON that was encoded before."""
    model = bench.model(MODEL)
    tensor = Classifier(model.file.parent).tensor(PHOTO.read_bytes())
    expected = expected_outputs(str(model.file), tensor)
    bodies = {BINARY: messages.binary_body(model, tensor), JSON: messages.json_body(model, tensor)}
    with bench.server_group() as group:
        predictor = start_chain(bench, group, model)[1]
        for name, (body, headers) in bodies.items():
            found = messages.infer_over_http(predictor.port, model.infer_path, body, headers)
            if not np.allclose(found["logits"], expected["logits"].ravel(), atol=1e-3):
                raise BenchError(f"{name} answers something else than the model")
        requests = {name: http_request(model.infer_path, *one) for name, one in bodies.items()}
        setting = bench.compare(
            1, [over_http(name, group, predictor, [request], 1) for name, request in requests.items()]
        )
    return Part("json", "The same tensor in binary and in JSON", [], [setting])


PARTS: Parts = {
    "trip": PartRunner(trip_part, lambda pace: 3 * pace.rounds),
    "json": PartRunner(json_part, lambda pace: 2 * pace.rounds),
}
