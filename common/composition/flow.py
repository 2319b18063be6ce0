"""The vocabulary of composition: call one predictor, call in order, call side by side, choose.

Each word keeps the request's deadline, passes its id and trace on and notes where the time went; none of them hides
a failure.
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


class Predictor(Protocol):
    """What a composition calls: a `PredictorClient`, or the same models in this process."""

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
    """What came of calls made side by side, in the order in which they were given."""

    answers: dict[str, T]
    missing: dict[str, ServingError]


async def call(
    context: RequestContext,
    predictor: Predictor,
    inputs: Mapping[str, Array],
    *,
    outputs: Sequence[str] = (),
    within: float | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> PredictorResponse:
    """Calls one predictor, at most `within` seconds long; its time is the stage that bears its name.

    Raises what `PredictorClient.infer` raises; a spent deadline calls nobody.
    """
    stages, name = context.stages, predictor.name
    before = stages.setdefault(name, 0.0)  # now, so that the order of the stages is that of the code
    started = perf_counter()
    try:
        return await predictor.infer(
            inputs,
            deadline=context.deadline if within is None else context.deadline.capped(within),
            outputs=outputs,
            headers=context.outgoing_headers(),
            parameters=parameters,
        )
    finally:
        stages[name] = before + (perf_counter() - started) * 1e3


async def in_order(context: RequestContext, value: Any, *steps: Step) -> Any:
    """Hands a value from step to step; the deadline is looked at before each."""
    for step in steps:
        context.deadline.check(f"{step.__name__.strip('_')} was started")
        value = await step(context, value)
    return value


async def side_by_side(
    context: RequestContext, work: Mapping[str, Work[T]], *, needed: int | None = None
) -> Gathered[T]:
    """Runs all at once.

    With `needed` None all of them have to succeed: the first failure cancels the rest and is raised. With a number,
    those that fail are `missing`, until so many have that `needed` can no longer be reached: that is raised.
    """
    _check(context, work.values())
    allowed = 0 if needed is None else len(work) - needed
    if allowed < 0:
        _close(work.values())
        raise NotReady(f"{len(work)} predictors can be asked and {needed} are needed", retry_after=1)
    begin = asyncio.get_running_loop().create_task
    tasks = {name: begin(one) for name, one in work.items()}
    race = _Race(tasks.values(), allowed)
    try:
        await race.over
        missing = {name: _failure(task) for name, task in tasks.items() if task.done() and task.exception()}
        if len(missing) > allowed:
            raise _lost(missing, needed, len(work))
        return Gathered({name: task.result() for name, task in tasks.items() if name not in missing}, missing)
    finally:
        for task in tasks.values():
            task.cancel()


async def as_they_finish(
    context: RequestContext, work: Mapping[str, Work[T]]
) -> AsyncIterator[tuple[str, T | ServingError]]:
    """Runs all at once and gives each answer, or failure, as it comes; leaving early cancels the rest."""
    _check(context, work.values())
    names: dict[asyncio.Future[T], str] = {asyncio.ensure_future(one): name for name, one in work.items()}
    came: asyncio.Queue[asyncio.Future[T]] = asyncio.Queue()
    for one in names:
        one.add_done_callback(came.put_nowait)
    try:
        for _ in range(len(names)):
            task = await came.get()
            yield names[task], _failure(task) if task.exception() else task.result()
    finally:
        for task in names:
            task.cancel()


def choose(context: RequestContext, question: str, answer: str, branches: Mapping[str, T]) -> T:
    """The branch that bears the answer's name; the turn taken is noted in `context.choices`."""
    context.choices[question] = answer
    return branches[answer]


class _Race:
    """`over` is done when all tasks are, or when more than `allowed` have failed."""

    def __init__(self, tasks: Collection[asyncio.Future[Any]], allowed: int) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left, self._allowed = len(tasks), allowed
        for task in tasks:
            task.add_done_callback(self._done)
        if not self._left:
            self.over.set_result(None)

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._left -= 1
        if task.cancelled() or task.exception():
            self._allowed -= 1
        if (self._left == 0 or self._allowed < 0) and not self.over.done():
            self.over.set_result(None)


def _check(context: RequestContext, work: Iterable[Work[Any]]) -> None:
    """A spent deadline starts nothing."""
    try:
        context.deadline.check("the predictors were called")
    except ServingError:
        _close(work)
        raise


def _close(work: Iterable[Work[Any]]) -> None:
    for one in work:
        one.close()


def _failure(task: asyncio.Future[Any]) -> ServingError:
    error = task.exception()
    if isinstance(error, ServingError):
        return error
    assert error is not None
    raise error  # a defect of ours, which must not pass for a predictor's


def _lost(missing: Mapping[str, ServingError], needed: int | None, total: int) -> ServingError:
    """What the caller is told: one failure as it is, several in one, of the kind of the first."""
    first = next(iter(missing.values()))
    if needed is None or isinstance(first, InvalidInput):
        return first
    reasons = "; ".join(f"{name}: {error.detail}" for name, error in missing.items())
    kind = type(first) if len({type(error) for error in missing.values()}) == 1 else UpstreamFailed
    text = f"{total - len(missing)} of {total} predictors could answer and {needed} are needed: {reasons}"
    return kind(text, retry_after=first.retry_after)
