"""After its deadline a request starts no more inference, at either side; nor after its caller has disconnected."""

from __future__ import annotations

import asyncio

import pytest

from runtimes.base import Stack
from tests.asking.prep_pred import ENTRY, PENGUIN, TIMEOUT, inferences, predict, sample, start_layout
from tests.conftest import Start
from tests.drills.faults import switch
from tests.drills.prep_pred.halves import SLACK, ask, ask_all, healed
from tests.load import connect, request
from tests.support import direct_url, log_lines, metric, soon

pytestmark = pytest.mark.runs_on("local")

LAYOUTS = (None, "proxy")


@pytest.fixture(scope="module", params=LAYOUTS, ids=lambda layout: layout or "default")
def layout(request: pytest.FixtureRequest) -> str | None:
    found: str | None = request.param
    return found


@pytest.fixture
def stack(layout: str | None, start_shared: Start) -> Stack:
    return start_layout(start_shared, layout, FAULTS="true")


def in_progress(stack: Stack, service: str) -> float:
    """Requests being answered, besides the one that asks."""
    return metric(stack.url(service), "serving_requests_in_progress") - 1


async def test_a_spent_deadline_is_504_in_time_and_starts_no_inference(stack: Stack, layout: str | None) -> None:
    before = await asyncio.to_thread(inferences, stack)
    await asyncio.to_thread(switch, stack, "predictor", hang=True)
    held = asyncio.create_task(asyncio.to_thread(ask, stack, 20))
    await soon(lambda: in_progress(stack, "predictor") >= 1, "the run has begun")
    for answer, took in await ask_all(stack, 0.5, 4):
        assert answer.status_code == 504
        assert 0.5 <= took < 0.5 + SLACK
    await asyncio.to_thread(switch, stack, "predictor")
    assert (await held)[0].status_code == 200
    await asyncio.to_thread(healed, stack, layout)
    assert await asyncio.to_thread(inferences, stack) == before + 2  # the one that hung, and the one that shows healing


def test_no_inference_follows_a_deadline_that_passes_while_the_input_is_prepared(stack: Stack) -> None:
    before = inferences(stack)
    for _ in range(3):
        answer = predict(stack, "imagenet_lite0", sample("coffee.jpg"), **{TIMEOUT: "0.003"})
        assert answer.status_code == 504
    assert predict(stack, "imagenet_lite0", sample("coffee.jpg")).status_code == 200
    assert inferences(stack) == before + 1


async def test_a_caller_who_left_is_not_inferred_for(stack: Stack, layout: str | None) -> None:
    await asyncio.to_thread(switch, stack, "predictor", hang=True)
    held = asyncio.create_task(asyncio.to_thread(ask, stack, 20))
    await soon(lambda: in_progress(stack, "predictor") >= 1, "the run has begun")
    before = await asyncio.to_thread(inferences, stack)
    for _ in range(3):
        _, writer = await connect(direct_url(stack, ENTRY[layout]))
        writer.write(request("/predict/penguins", {"instances": [PENGUIN]}))
        await writer.drain()
        await soon(lambda: metric(stack.url("predictor"), "serving_queue_depth") == 1, "the request waits")
        writer.close()
        await soon(lambda: metric(stack.url("predictor"), "serving_queue_depth") == 0, "it has left the queue")
    await asyncio.to_thread(switch, stack, "predictor")
    assert (await held)[0].status_code == 200
    assert await asyncio.to_thread(inferences, stack) == before + 1
    await soon(lambda: len(log_lines(stack, ENTRY[layout], event="request", status="499")) == 3, "the log says so")
