"""Measurements of serial: the proxy's own share of a page's time, and the chain against one process."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from bench.contestants import start_role, under_load
from bench.measure import Spread
from bench.messages import http_request, post
from bench.plan import LOCAL, Plan
from bench.process import ROOT, BenchError, Server, ServerGroup
from bench.report import Number, Part
from bench.stages import RepeatedRequest, Stages, over_rounds
from bench.suite import Bench, PartRunner, Parts

CHAIN, ONE = "ours, a server for each model", "ours, all models in one process"
MODELS = {
    "orientation": "page_orientation",
    "detection": "text_detection",
    "recognition": "text_recognition",
    "recognition-heavy": "text_recognition_heavy",
}
SAMPLES = ROOT / "patterns" / "serial" / "samples"
OWN_PERCENT, READ_RIGHT = 5.0, 0.9
LONGER, LEAST_SECONDS = 3, 5.0


def invoice() -> RepeatedRequest:
    """The sample page."""
    return RepeatedRequest("/read", (SAMPLES / "invoice.jpg").read_bytes(), {"Content-Type": "image/jpeg"})


def start_chain(bench: Bench, group: ServerGroup) -> list[Server]:
    """Start the proxy on the load's core (the load waits while it works) and its predictors on the other core."""
    repository = {"MODEL_REPOSITORY": str(bench.repository)}
    behind = {
        stage: start_role(group, "common.roles.predictor", repository | {"MODEL": bench.model(name).name})
        for stage, name in MODELS.items()
    }
    listed = ",".join(f"{stage}=http://{LOCAL}:{one.port}#{MODELS[stage]}" for stage, one in behind.items())
    proxy = start_role(group, "patterns.serial.proxy", {"PREDICTORS": listed}, (group.cores.load,))
    return [proxy, *behind.values()]


def start_one(bench: Bench, group: ServerGroup) -> Server:
    """Start all models in one process, which may use both cores."""
    settings = {"MODEL": ",".join(MODELS.values()), "MODEL_REPOSITORY": str(bench.repository)}
    return start_role(group, "patterns.serial.api", settings, group.cores.both)


def lines(server: Server, question: RepeatedRequest) -> list[str]:
    """The lines of text that a server returns."""
    page: dict[str, Any] = orjson.loads(post(server.port, question.path, question.body, question.headers))
    return [line["text"] for line in page["lines"]]


def check(servers: Sequence[Server], question: RepeatedRequest) -> None:
    """Raise BenchError unless all servers return the same lines and nearly all of them are correct."""
    texts = [lines(server, question) for server in servers]
    truth: list[str] = orjson.loads((SAMPLES / "invoice.json").read_bytes())["lines"]
    if texts[0] != texts[-1] or len(set(truth) & set(texts[0])) < READ_RIGHT * len(truth):
        raise BenchError(f"the chain reads {texts[0]}, one process {texts[-1]}, the page has {truth}")


def pipeline_part(bench: Bench) -> Part:
    """The invoice through the chain and through one process, with the chain's time by stages.

    A page takes a second, so turns are three times as long as elsewhere.
    """
    seconds = max(LONGER * bench.pace.seconds, LEAST_SECONDS)
    bench = replace(bench, pace=replace(bench.pace, seconds=seconds))
    question = invoice()
    request = http_request(question.path, question.body, question.headers)
    with bench.server_group() as group:
        chain, one = start_chain(bench, group), start_one(bench, group)
        check([chain[0], one], question)
        for server in (*chain, one):
            server.suspend()
        plans = [Plan(port=entry.port, requests=[request], connections=1, seconds=1.0) for entry in (chain[0], one)]
        contestants = [
            under_load(CHAIN, group, chain[0], plans[0], behind=chain[1:]),
            under_load(ONE, group, one, plans[1]),
        ]
        setting = bench.compare(1, contestants, shared=True)
        own = over_rounds(chain, question, own_percent, bench.pace, bench.turn_done)
    return Part("pipeline", "An invoice through four models", [own_number(own)], [setting])


def own_percent(stages: Stages) -> float:
    """The percentage of the time in which no predictor worked."""
    return 100 * stages["own"] / stages["total"]


def own_number(value: Spread) -> Number:
    """The own share with its target."""
    return Number("an invoice: the proxy's own share of the time", value, OWN_PERCENT, False, " %")


PARTS: Parts = {"pipeline": PartRunner(pipeline_part, lambda pace: 3 * pace.rounds)}
