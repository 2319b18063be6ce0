"""The functions that compositions are written with: `call`, `in_order`, `side_by_side`, `as_they_finish`, `choose`.

`call` asks one predictor; it passes on the request id, the trace and the remaining time, and its time becomes a stage.
`in_order` passes a value from step to step. `side_by_side` and `as_they_finish` run several calls at once. `choose`
selects a branch and records the choice. No step and no call starts after the deadline. Every error is raised or
returned.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar

from common.client import PredictorResponse
from common.errors import InvalidInput, NotReady, ServingError, UpstreamFailed
from common.protocol.tensors import Array
from common.request.context import RequestContext
from common.request.deadline import Deadline

T = TypeVar("T")
Step = Callable[[RequestContext, Any], Awaitable[Any]]
Work = Coroutine[Any, Any, T]


class CallablePredictor(Protocol):
    """What a composition calls: a `PredictorClient`, or an `InProcessPredictor`."""

    @property
    def name(self) -> str: ...

    async def infer(
        self,
        inputs: Mapping[str, Array],
        *,
        deadline: Deadline,
        outputs: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> PredictorResponse: ...


@dataclass(frozen=True, slots=True)
class Gathered(Generic[T]):
    """The results of calls made side by side, and the errors of those that failed, each in the order of the calls."""

    answers: dict[str, T]
    missing: dict[str, ServingError]


async def call(
    context: RequestContext,
    predictor: CallablePredictor,
    inputs: Mapping[str, Array],
    *,
    outputs: Sequence[str] = (),
    timeout_seconds: float | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> PredictorResponse:
    """Calls one predictor, for at most `timeout_seconds`, and records the call's time as the stage named after it.

    Raises the errors of `PredictorClient.infer`. No call is made when the deadline has passed.
    """
    stages, name = context.stages, predictor.name
    earlier_ms = stages.setdefault(name, 0.0)  # set here, so that the stages are in the order of the calls
    started = perf_counter()
    try:
        return await predictor.infer(
            inputs,
            deadline=context.deadline if timeout_seconds is None else context.deadline.capped(timeout_seconds),
            outputs=outputs,
            headers=context.outgoing_headers(),
            parameters=parameters,
        )
    finally:
        stages[name] = earlier_ms + (perf_counter() - started) * 1e3


async def in_order(context: RequestContext, value: Any, *steps: Step) -> Any:
    """Runs steps one after the other, each on the result of the one before. Checks the deadline before each step."""
    for step in steps:
        context.deadline.check(f"{step.__name__.strip('_')} was started")
        value = await step(context, value)
    return value


async def side_by_side(
    context: RequestContext, work: Mapping[str, Work[T]], *, needed: int | None = None
) -> Gathered[T]:
    """Runs all coroutines at once and returns their results by name.

    With `needed` None all have to succeed: the first failure cancels the others and is raised. With a number, that
    many have to succeed, and those that fail are `missing` in the result. As soon as too many have failed, the others
    are cancelled, and one error with the reasons of all failures is raised.
    """
    _check(context, work.values())
    allowed = 0 if needed is None else len(work) - needed
    if allowed < 0:
        _close(work.values())
        raise NotReady(f"{len(work)} predictors are available and {needed} are needed", retry_after=1)
    create_task = asyncio.get_running_loop().create_task
    tasks = {name: create_task(coroutine) for name, coroutine in work.items()}
    completion = _Completion(tasks.values(), allowed)
    try:
        await completion.reached
        missing = {name: _failure(task) for name, task in tasks.items() if task.done() and task.exception()}
        if len(missing) > allowed:
            raise _combined(missing, needed, len(work))
        return Gathered({name: task.result() for name, task in tasks.items() if name not in missing}, missing)
    finally:
        for task in tasks.values():
            task.cancel()


async def as_they_finish(
    context: RequestContext, work: Mapping[str, Work[T]]
) -> AsyncIterator[tuple[str, T | ServingError]]:
    """Runs all coroutines at once, and yields each result or error as it comes. Closing it cancels the others."""
    _check(context, work.values())
    names: dict[asyncio.Future[T], str] = {asyncio.ensure_future(coroutine): name for name, coroutine in work.items()}
    finished: asyncio.Queue[asyncio.Future[T]] = asyncio.Queue()
    for task in names:
        task.add_done_callback(finished.put_nowait)
    try:
        for _ in range(len(names)):
            task = await finished.get()
            yield names[task], _failure(task) if task.exception() else task.result()
    finally:
        for task in names:
            task.cancel()


def choose(context: RequestContext, question: str, answer: str, branches: Mapping[str, T]) -> T:
    """The branch whose name is `answer`; the choice is recorded in `context.choices`, under `question`."""
    context.choices[question] = answer
    return branches[answer]


class _Completion:
    """Waits for tasks: `reached` is done when all tasks are done, or when more than `allowed` have failed."""

    def __init__(self, tasks: Collection[asyncio.Future[Any]], allowed: int) -> None:
        self.reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unfinished, self._failures_left = len(tasks), allowed
        for task in tasks:
            task.add_done_callback(self._done)
        if not self._unfinished:
            self.reached.set_result(None)

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._unfinished -= 1
        if task.cancelled() or task.exception():
            self._failures_left -= 1
        if (self._unfinished == 0 or self._failures_left < 0) and not self.reached.done():
            self.reached.set_result(None)


def _check(context: RequestContext, work: Iterable[Work[Any]]) -> None:
    """Raises DeadlineExceeded when the deadline has passed; the coroutines are then closed without being started."""
    try:
        context.deadline.check("the predictors were called")
    except ServingError:
        _close(work)
        raise


def _close(work: Iterable[Work[Any]]) -> None:
    for coroutine in work:
        coroutine.close()


def _failure(task: asyncio.Future[Any]) -> ServingError:
    error = task.exception()
    if isinstance(error, ServingError):
        return error
    assert error is not None
    raise error  # a defect of this service, which must not be reported as a predictor's failure


def _combined(missing: Mapping[str, ServingError], needed: int | None, total: int) -> ServingError:
    """One error for all failures: the first one itself when all were needed, else one that gives every reason."""
    first = next(iter(missing.values()))
    if needed is None or isinstance(first, InvalidInput):
        return first
    reasons = "; ".join(f"{name}: {error.detail}" for name, error in missing.items())
    kind = type(first) if len({type(error) for error in missing.values()}) == 1 else UpstreamFailed
    text = f"{total - len(missing)} of {total} predictors responded and {needed} are needed: {reasons}"
    return kind(text, retry_after=first.retry_after)
