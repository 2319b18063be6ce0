"""Faults affect every run while they are active, and none once they are switched off."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import perf_counter

import numpy as np
import pytest

from common.errors import ModelFailed
from common.inference.faults import Faults, FaultSwitch
from common.protocol.tensors import Array
from tests.unit.common.inference.fake_sessions import SumSession, rows


class Echo:
    """Gives back what it was given."""

    def run(self, inputs: dict[str, Array]) -> Sequence[Array]:
        return list(inputs.values())


@pytest.fixture
def switch() -> FaultSwitch:
    return FaultSwitch()


def test_at_first_nothing_is_injected(switch: FaultSwitch) -> None:
    session = SumSession()
    (sums,) = switch.wrap(session).run(rows(1, 2))
    assert sums.tolist() == [2, 4]
    assert len(session.runs) == 1


def test_a_run_that_is_made_to_fail_does_not_reach_the_model(switch: FaultSwitch) -> None:
    session = SumSession()
    switch.set(Faults(error_share=1))
    with pytest.raises(ModelFailed, match="an injected fault"):
        switch.wrap(session).run(rows(1))
    assert not session.runs


@pytest.mark.parametrize("faults", [Faults(hang=True), Faults(latency_seconds=3600)])
def test_runs_that_wait_go_on_when_the_faults_are_off(switch: FaultSwitch, faults: Faults) -> None:
    session = SumSession()
    switch.set(faults)
    threads = [threading.Thread(target=switch.wrap(session).run, args=(rows(1),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    threads[0].join(0.05)
    assert all(thread.is_alive() for thread in threads)
    assert not session.runs
    switch.set(Faults())
    for thread in threads:
        thread.join(20)
    assert len(session.runs) == 3


def test_outputs_of_several_columns_lack_the_last_one(switch: FaultSwitch) -> None:
    switch.set(Faults(narrow=True))
    table, column = switch.wrap(Echo()).run({"x": np.ones((2, 3), np.float32), "n": np.ones(2, np.int64)})
    assert (table.shape, column.shape) == ((2, 2), (2,))


def test_latency_is_added(switch: FaultSwitch) -> None:
    switch.set(Faults(latency_seconds=0.05))
    start = perf_counter()
    switch.wrap(SumSession()).run(rows(1))
    assert perf_counter() - start >= 0.05
