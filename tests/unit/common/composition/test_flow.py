"""The vocabulary of composition: deadlines are kept, failures are named, what is no longer wanted is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from common.client import PredictorResponse
from common.composition.flow import as_they_finish, call, choose, in_order, side_by_side
from common.errors import ClientDisconnected, DeadlineExceeded, InvalidInput, NotReady, ServingError, UpstreamFailed
from common.request.context import RequestContext
from common.request.deadline import Deadline
from common.request.disconnect import cancel_on_disconnect
from common.request.trace import continue_trace


def context(seconds: float = 10.0, **rest: Any) -> RequestContext:
    return RequestContext("POST", "/x", "id-1", continue_trace(None), Deadline.after(seconds), **rest)


class Echo:
    """A predictor that gives its input back and remembers how it was asked."""

    name = "echo"

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def infer(self, inputs: Mapping[str, Any], **how: Any) -> PredictorResponse:
        self.asked.append(how)
        await asyncio.sleep(0.002)
        return PredictorResponse(dict(inputs), "echo", "1")


async def value(it: Any, seconds: float = 0.0) -> Any:
    await asyncio.sleep(seconds)
    if isinstance(it, BaseException):
        raise it
    return it


class Cut:
    """Work without an end, which notes that it was cancelled."""

    cancelled = False

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def test_a_call_passes_on_id_trace_and_parameters_and_is_a_stage() -> None:
    echo, asked = Echo(), context()
    result = await call(asked, echo, {"x": np.ones(1)}, parameters={"a": 1})
    assert result.model_name == "echo"
    (how,) = echo.asked
    assert how["headers"]["X-Request-ID"] == "id-1"
    assert asked.trace.trace_id in how["headers"]["traceparent"]
    assert how["parameters"] == {"a": 1}
    assert asked.stages["echo"] >= 2


async def test_calls_to_one_predictor_add_up() -> None:
    echo, asked = Echo(), context()
    for _ in range(2):
        await call(asked, echo, {})
    assert asked.stages["echo"] >= 4


async def test_a_call_has_the_callers_deadline_or_a_shorter_one() -> None:
    echo, asked = Echo(), context(5.0)
    await call(asked, echo, {})
    await call(asked, echo, {}, timeout_seconds=0.5)
    await call(asked, echo, {}, timeout_seconds=50)
    whole, short, long = (how["deadline"] for how in echo.asked)
    assert whole.at == long.at == asked.deadline.at
    assert 0 < short.remaining <= 0.5


async def test_steps_are_taken_in_order() -> None:
    async def add(_: RequestContext, number: int) -> int:
        return number + 1

    async def double(_: RequestContext, number: int) -> int:
        return number * 2

    assert await in_order(context(), 3, add, double) == 8
    assert await in_order(context(), 3, double, add) == 7


async def test_a_spent_deadline_starts_no_further_step() -> None:
    asked, taken = context(0.01), []

    async def slow(_: RequestContext, number: int) -> int:
        taken.append("slow")
        await asyncio.sleep(0.02)
        return number

    async def _never(_: RequestContext, number: int) -> int:
        taken.append("never")
        return number

    with pytest.raises(DeadlineExceeded, match="before never was started"):
        await in_order(asked, 1, slow, _never)
    assert taken == ["slow"]


async def test_all_side_by_side_are_answered_in_the_order_given() -> None:
    gathered = await side_by_side(context(), {"slow": value(1, 0.02), "quick": value(2)})
    assert list(gathered.answers.items()) == [("slow", 1), ("quick", 2)]
    assert gathered.missing == {}


async def test_the_first_failure_is_raised_and_cancels_the_rest() -> None:
    cut = Cut()
    with pytest.raises(UpstreamFailed, match="broken"):
        await side_by_side(context(), {"endless": cut.run(), "broken": value(UpstreamFailed("broken"))})
    await asyncio.sleep(0)
    assert cut.cancelled


async def test_with_enough_answers_the_missing_are_named() -> None:
    failed = DeadlineExceeded("too slow")
    gathered = await side_by_side(context(), {"a": value(1), "b": value(failed), "c": value(3)}, needed=2)
    assert gathered.answers == {"a": 1, "c": 3}
    assert gathered.missing == {"b": failed}


async def test_too_few_are_noticed_as_soon_as_it_is_certain() -> None:
    cut = Cut()
    work = {"a": value(NotReady("loading", retry_after=7)), "b": value(NotReady("draining")), "c": cut.run()}
    with pytest.raises(NotReady, match=r"1 of 3 .* 2 are needed: a: loading; b: draining") as caught:
        await side_by_side(context(), work, needed=2)
    assert caught.value.retry_after == 7
    await asyncio.sleep(0)
    assert cut.cancelled


async def test_more_than_there_are_can_never_answer() -> None:
    echo = Echo()
    with pytest.raises(NotReady, match="1 predictors are available and 2 are needed"):
        await side_by_side(context(), {"a": echo.infer({})}, needed=2)
    assert echo.asked == []


async def test_failures_of_several_kinds_are_an_upstream_failure() -> None:
    with pytest.raises(UpstreamFailed, match="a: slow; b: down"):
        await side_by_side(
            context(), {"a": value(DeadlineExceeded("slow")), "b": value(UpstreamFailed("down"))}, needed=1
        )


async def test_a_wrong_input_is_the_callers_to_know() -> None:
    with pytest.raises(InvalidInput, match=r"^inputs: wrong$"):
        await side_by_side(context(), {"a": value(InvalidInput("inputs: wrong"))}, needed=1)


async def test_a_defect_is_not_taken_for_a_predictors_failure() -> None:
    with pytest.raises(ZeroDivisionError):
        await side_by_side(context(), {"a": value(ZeroDivisionError()), "b": value(1)}, needed=1)


async def test_nothing_starts_side_by_side_once_the_deadline_is_spent() -> None:
    echo = Echo()
    with pytest.raises(DeadlineExceeded):
        await side_by_side(context(-1), {"a": echo.infer({})})
    assert echo.asked == []


async def test_cancellation_cancels_all_parallel_calls() -> None:
    cut = Cut()
    task = asyncio.ensure_future(side_by_side(context(), {"a": cut.run()}))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert cut.cancelled


async def test_answers_and_failures_come_as_they_finish() -> None:
    failed = UpstreamFailed("down")
    work = {"slow": value(1, 0.05), "quick": value(2), "broken": value(failed, 0.02)}
    came = [one async for one in as_they_finish(context(), work)]
    assert came == [("quick", 2), ("broken", failed), ("slow", 1)]


async def test_leaving_early_cancels_what_has_not_finished() -> None:
    cut = Cut()
    stream = as_they_finish(context(), {"endless": cut.run(), "quick": value(1)})
    assert await anext(stream) == ("quick", 1)
    await stream.aclose()  # type: ignore[attr-defined]  # an async generator, which the annotation need not promise
    await asyncio.sleep(0)
    assert cut.cancelled


def test_a_choice_is_noted() -> None:
    asked = context()
    assert choose(asked, "reader", "heavy", {"light": 1, "heavy": 2}) == 2
    assert asked.choices == {"reader": "heavy"}


async def test_a_disconnected_client_cancels_the_work() -> None:
    left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    cut = Cut()

    async def answer() -> None:
        async with cancel_on_disconnect(context(disconnected=lambda: left)):
            await cut.run()

    task = asyncio.ensure_future(answer())
    await asyncio.sleep(0.1)
    left.set_result(None)
    with pytest.raises(ClientDisconnected):
        await task
    assert cut.cancelled


async def test_a_disconnect_as_the_work_ends_cancels_nothing_after_it() -> None:
    left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def answer() -> Any:
        async with cancel_on_disconnect(context(disconnected=lambda: left)):
            await done
        return await value(1, 0.05)

    task = asyncio.ensure_future(answer())
    await asyncio.sleep(0)
    done.set_result(None)
    left.set_result(None)
    assert await task == 1


@pytest.mark.parametrize("seconds", [0.0, 0.1])
async def test_work_of_a_connected_client_is_not_cancelled(seconds: float) -> None:
    async with cancel_on_disconnect(context()):
        assert await value(1, seconds) == 1


async def test_an_error_inside_is_raised_unchanged() -> None:
    with pytest.raises(ServingError, match="broken"):
        async with cancel_on_disconnect(context()):
            await value(ServingError("broken"), 0.1)
