"""Rivals are real servers that answer as the model does; a measured server is pinned, suspended and stopped."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from bench.contestants import BARE, FASTAPI, check_http, start_rival
from bench.messages import Model, iris_rows, json_body
from bench.process import BenchError, Cores, ServerGroup, choose_cores, free_port, on_core
from bench.rivals.ort_alone import expected_outputs


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Four numbers in; probabilities (FP32) and a label (INT64) out."""
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [4, 3], [0.1 * number for number in range(12)])
    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 4])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3]),
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        ],
        [weights],
    )
    file = tmp_path_factory.mktemp("tiny") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    return Model("tiny", file, "features")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[ServerGroup]:
    """Servers on the last core that this process may use."""
    cores = sorted(os.sched_getaffinity(0))
    with ServerGroup(Cores(server=cores[-1], load=cores[0]), tmp_path) as started:
        yield started


@pytest.mark.parametrize("name", [BARE, FASTAPI])
def test_a_rival_answers_as_the_model_does(group: ServerGroup, model: Model, name: str) -> None:
    row = iris_rows(1)[0]
    expected = expected_outputs(str(model.file), row)
    server = start_rival(group, name, model)
    check_http(server, model.infer_path, json_body(model, row), expected)
    assert psutil.Process(server.process.pid).cpu_affinity() == [group.cores.server]
    assert 0 < server.ready_seconds < 30
    assert server.memory_bytes() > 10_000_000


def test_a_server_that_answers_something_else_is_not_measured(group: ServerGroup, model: Model) -> None:
    first, second = iris_rows(2)
    server = start_rival(group, BARE, model)
    with pytest.raises(BenchError, match="the model"):
        check_http(server, model.infer_path, json_body(model, first), expected_outputs(str(model.file), second))


def constant(group: ServerGroup) -> tuple[list[str], int]:
    port = free_port()
    return [sys.executable, "-m", "bench.rivals.constant", str(port)], port


def test_a_server_is_suspended_between_its_turns_and_ended_afterwards(group: ServerGroup) -> None:
    command, port = constant(group)
    server = group.start("constant", command, {}, port)
    with server.measured():
        assert psutil.Process(server.process.pid).status() != psutil.STATUS_STOPPED
    assert psutil.Process(server.process.pid).status() == psutil.STATUS_STOPPED
    group.stack.close()
    assert server.process.poll() is not None


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(group: ServerGroup) -> None:
    with pytest.raises(BenchError, match=r"ended with 3.*no model"):
        group.start(
            "dying", [sys.executable, "-c", "print('no model', flush=True); raise SystemExit(3)"], {}, free_port()
        )


def test_a_server_does_not_see_the_settings_of_the_callers_shell(
    group: ServerGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_MAX_ROWS", "1")
    says = "import os; raise SystemExit(repr(sorted(set(os.environ) & {'BATCH_MAX_ROWS', 'MODEL'})))"
    with pytest.raises(BenchError, match=r"\['MODEL'\]"):
        group.start("telling", [sys.executable, "-c", says], {"MODEL": "iris"}, free_port())


def test_one_core_is_not_enough() -> None:
    with on_core(min(os.sched_getaffinity(0))), pytest.raises(BenchError, match="two cores"):
        choose_cores()
