"""A stand-in answers as a predictor does, however the request arrives; the proxies written by hand work."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bench.contestants import start_app, start_stand_ins, under_load
from bench.measure import Pace
from bench.messages import Model, http_request, infer_over_http, iris_rows, json_body
from bench.parallel import COMPOSED, RIVALS, check_composed, listed
from bench.plan import LOCAL, Plan
from bench.process import BenchError, Server, ServerGroup, choose_cores
from common.client import PredictorClient
from common.request.deadline import Deadline

MANIFEST: dict[str, Any] = {
    "name": "flowers",
    "version": "1",
    "task": "classification",
    "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 4], "features": [{"name": "width"}]}],
    "outputs": [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "label", "datatype": "INT64", "shape": [-1]},
    ],
    "labels": ["a", "b", "c"],
    "preprocessing": {"fingerprint": "sha256:0", "steps": []},
}
ROWS = [0.8, 0.1, 0.1]
LONG_ENOUGH = Pace(seconds=30.0, warm_up_seconds=0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("flowers")
    (folder / "model.yaml").write_text(yaml.safe_dump(MANIFEST))
    return Model("flowers", folder / "model.onnx", "features")


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerGroup]:
    with ServerGroup(choose_cores(), tmp_path_factory.mktemp("logs")) as started:
        yield started


@pytest.fixture(scope="module")
def stand_in(group: ServerGroup, model: Model) -> Server:
    return start_stand_ins(group, [model])["flowers"]


def test_it_answers_in_json_all_outputs_for_one_row(stand_in: Server, model: Model) -> None:
    outputs = infer_over_http(stand_in.port, model.infer_path, *json_body(model, iris_rows(1)[0]))
    assert outputs["probabilities"].tolist() == pytest.approx(ROWS)
    assert outputs["label"].tolist() == [0]


async def test_our_client_reads_its_metadata_and_its_binary_answers(stand_in: Server) -> None:
    rows = {"features": np.zeros((1, 4), np.float32)}
    async with PredictorClient(f"http://{LOCAL}:{stand_in.port}", model="flowers") as client:
        told = await client.metadata(deadline=Deadline.after(5))
        everything = await client.infer(rows, deadline=Deadline.after(5))
        one = await client.infer(rows, outputs=["probabilities"], deadline=Deadline.after(5))
        assert await client.ready(deadline=Deadline.after(5))
    assert json.loads(told.properties["labels"]) == ["a", "b", "c"]
    assert everything.outputs.keys() == {"probabilities", "label"}
    assert one.outputs.keys() == {"probabilities"}
    assert one.outputs["probabilities"].tolist() == [pytest.approx(ROWS)]


def test_a_request_that_arrives_in_pieces_and_one_right_behind_it_are_both_answered(
    stand_in: Server, model: Model
) -> None:
    request = http_request(model.infer_path, *json_body(model, iris_rows(1)[0]))
    with socket.create_connection((LOCAL, stand_in.port), timeout=5) as sock:
        for piece in (request[:40], request[40:-7], request[-7:] + request):
            sock.sendall(piece)
        received = b""
        while received.count(b'"label"') < 2:
            received += sock.recv(65536)
    assert received.count(b"HTTP/1.1 200 OK") == 2


@pytest.fixture(scope="module")
def stand_ins(group: ServerGroup, model: Model, stand_in: Server) -> dict[str, Server]:
    """Three that agree; a stand-in does not look at the name that it is asked by."""
    others = {name: start_stand_ins(group, [model])["flowers"] for name in ("second", "third")}
    return {"first": stand_in, **others}


@pytest.mark.parametrize("name", RIVALS)
def test_a_proxy_written_by_hand_gives_the_mean_of_three_predictors_under_load_too(
    group: ServerGroup, model: Model, stand_ins: dict[str, Server], name: str
) -> None:
    proxy = start_app(group, name, RIVALS[name], listed(stand_ins))
    check_composed({name: proxy}, model.file.parent)
    request = http_request(COMPOSED.infer_path, *json_body(COMPOSED, iris_rows(1)[0]))
    whole = [b'"probabilities"', b"0.8"]
    plan = Plan(port=proxy.port, requests=[request], connections=4, seconds=1.0, count=200, contains=whole)
    with ExitStack() as resumed:
        for one in stand_ins.values():
            one.suspend()
            resumed.callback(one.process.send_signal, signal.SIGCONT)
        result = under_load(name, group, proxy, plan, stand_ins=list(stand_ins.values())).turn(LONG_ENOUGH)
    assert (result.answered_in_all, result.errors) == (200, {})
    assert result.server_cpu  # counted in steps of 10 ms, which 20 requests would not fill


def test_a_proxy_that_answers_something_else_is_not_measured(stand_in: Server, tmp_path: Path) -> None:
    other = {**MANIFEST, "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}]}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(other))
    with pytest.raises(BenchError, match="the model"):
        check_composed({"x": stand_in}, tmp_path)
