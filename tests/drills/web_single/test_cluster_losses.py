"""On a cluster, with two replicas: what one of them takes with it when it dies, or when its node is drained."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from common.client.limits import ClientLimits
from common.client.predictor import PredictorClient
from common.request.deadline import Deadline
from runtimes.base import Stack
from runtimes.cluster import Namespace, Pod
from tests.conftest import Start
from tests.drills.cluster import KEPT, evict, gone, namespace, right, rolled_out, running, unharmed
from tests.load import Load
from tests.support import SETOSA, soon

pytestmark = pytest.mark.runs_on("kubernetes")

CALLERS = 4
# Until the cluster has noticed, every second new connection is refused: the usual three attempts may all meet that.
PATIENT = ClientLimits(attempts=7)
ROUTED_SECONDS = 2.0  # until every node's rules follow a change of the Service's endpoints; nothing says when they do


@pytest.fixture(scope="module")
def stack(start_cluster: Start) -> Stack:
    return start_cluster("web_single", "replicas")


@pytest.fixture
def space(stack: Stack) -> Namespace:
    return namespace(stack)


def deleted_without_grace(space: Namespace, pod: Pod) -> None:
    space.kubectl("delete", "pod", pod.id, "--force", "--grace-period=0")


def killed(space: Namespace, pod: Pod) -> None:
    space.signal(pod, "KILL")


def replaced(space: Namespace, before: list[Pod]) -> bool:
    """Whether there are as many that serve as before, and not all of them are the same."""
    now = running(space)
    return len(now) == len(before) and {(pod.id, pod.restarts) for pod in now} != {(pod.id, 0) for pod in before}


@asynccontextmanager
async def inferring(url: str) -> AsyncIterator[None]:
    """Callers that ask through the client of `common`, as a proxy would: every one of their questions is answered."""
    ended = asyncio.Event()
    features = {"features": np.array([SETOSA], np.float32)}

    async def ask_on(client: PredictorClient) -> None:
        while not ended.is_set():
            answer = await client.infer(features, deadline=Deadline.after(10))
            assert answer.outputs["label"].tolist() == [0]

    async with PredictorClient(url, model="iris", limits=PATIENT) as client, asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(ask_on(client))
        try:
            yield
        finally:
            ended.set()


@pytest.mark.parametrize("how", [deleted_without_grace, killed], ids=lambda how: how.__name__)
async def test_a_pod_that_dies_takes_what_was_in_flight_there_and_the_client_asks_again(
    stack: Stack, space: Namespace, how: Callable[[Namespace, Pod], None]
) -> None:
    before = await asyncio.to_thread(running, space)
    async with inferring(stack.url()), Load(stack.url(), [KEPT], right, callers=CALLERS) as load:
        await load.answered(100)
        await asyncio.to_thread(how, space, before[0])
        await soon(lambda: replaced(space, before), "another pod, or another container in it, is ready", 60)
    tally = load.tally
    assert tally.wrong == []
    assert tally.statuses == {200: tally.answered}
    assert len(tally.lost) <= CALLERS


async def test_a_frozen_pod_gets_no_requests_until_it_goes_on(stack: Stack, space: Namespace) -> None:
    """Its probes fail, so the Service leads to the other pod alone; what froze it is over before it would be ended."""
    first, _ = await asyncio.to_thread(running, space)
    await asyncio.to_thread(space.signal, first, "STOP")
    try:
        await soon(lambda: first.id not in {pod.id for pod in running(space)}, "the frozen pod is unready", 60)
        await asyncio.sleep(ROUTED_SECONDS)
        async with unharmed(stack):
            assert first.id not in {pod.id for pod in await asyncio.to_thread(running, space)}
    finally:
        await asyncio.to_thread(space.signal, first, "CONT")
    await soon(lambda: len(running(space)) == 2, "both pods are ready again", 60)


async def test_a_node_that_is_drained_gets_one_pod_at_a_time_and_no_request_is_lost(
    stack: Stack, space: Namespace, tmp_path: Path
) -> None:
    first, second = before = await asyncio.to_thread(running, space)
    async with unharmed(stack):
        assert await asyncio.to_thread(evict, space, first, tmp_path)
        assert not await asyncio.to_thread(evict, space, second, tmp_path), "the first has not been replaced yet"
        await asyncio.to_thread(rolled_out, space)
        await soon(lambda: evict(space, second, tmp_path), "the second may go, once the first has been replaced")
        await asyncio.to_thread(rolled_out, space)
        await asyncio.to_thread(gone, space, before)
    assert len(running(space)) == 2
