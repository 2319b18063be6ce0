"""The predictors that are called at the same time: which of them can be called, and the call of each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from common.client import PredictorClient
from common.composition.flow import Gathered, call
from common.composition.predictor_health import HealthMonitor
from common.errors import NotReady, ServingError, UpstreamFailed
from common.protocol.tensors import Array
from common.request.context import RequestContext
from patterns.parallel.feature_store import store_failure
from patterns.parallel.member import EnsembleMember, MemberResponse

TIME_SHARE = 0.8  # of the remaining time; the rest is for sending the answers of the other predictors to the caller
_ANSWER_BYTES = 16  # of an FP32 value: in the response, in the array of all answers, and in what is made of them
Calls = dict[str, Coroutine[Any, Any, MemberResponse]]
_FETCH = re.compile(r"\bfetch;dur=([\d.]+)")  # in the Server-Timing of a predictor that fetches features itself


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a predictor may take, and how many responses are needed; None: all, before the deadline.

    `classifiers` is how many of the responses must come from classifiers.
    """

    seconds: float | None = None
    needed: int | None = None
    classifiers: int = 0


class Ensemble:
    """The members by name, in the order of PREDICTORS. They are chosen again when the metadata of a predictor changes.

    `columns` are the features that a row must have, `labels` the labels that all classifiers share. `unusable` are the
    predictors whose model cannot be a member, with the reasons. If `needed` is None, all predictors must answer before
    the deadline. Otherwise that many responses are enough; a predictor that the health monitor finds unavailable is
    then skipped until it is back, so that requests do not wait for its timeout.
    """

    def __init__(self, monitor: HealthMonitor, predictors: Mapping[str, PredictorClient], limits: Limits) -> None:
        self._monitor, self._predictors = monitor, predictors
        self._timeout, self.needed, self._needed_classifiers = limits.seconds, limits.needed, limits.classifiers
        monitor.on_change(self._choose_members)
        self._choose_members()

    def _choose_members(self) -> None:
        """Takes as members all regressors, and the classifiers that have the most common labels."""
        known, unusable = self._read_metadata()
        counted = Counter(one.labels for one in known.values() if one.labels).most_common(1)
        labels = counted[0][0] if counted else ()
        for name, one in known.items():
            if one.labels not in ((), labels):
                text = (
                    f"predictor {name} has the labels {', '.join(one.labels)}, but most others have {', '.join(labels)}"
                )
                unusable[name] = UpstreamFailed(text)
        members = {name: one for name, one in known.items() if name not in unusable}
        self.members, self.unusable, self.labels = members, unusable, labels
        self.columns = tuple(dict.fromkeys(column for one in members.values() for column in one.columns))
        self._indices = {one.columns: [self.columns.index(name) for name in one.columns] for one in members.values()}

    def _read_metadata(self) -> tuple[dict[str, EnsembleMember], dict[str, ServingError]]:
        """The predictors whose model can be a member, and why the others cannot."""
        known: dict[str, EnsembleMember] = {}
        unusable: dict[str, ServingError] = {}
        for name in self._predictors:
            metadata = self._monitor.metadata.get(name)
            if metadata is None:
                unusable[name] = NotReady(f"predictor {name} has not sent the metadata of its model yet", retry_after=1)
                continue
            try:
                known[name] = EnsembleMember.of(name, metadata)
            except UpstreamFailed as error:
                unusable[name] = error
        return known, unusable

    def skipped(self) -> dict[str, ServingError]:
        """The predictors that are not called now, with the reasons. Raises NotReady when too few are left."""
        skipped = self.unusable
        if self.needed is not None and self._monitor.unavailable:
            unavailable = {
                name: NotReady(f"predictor {name} {reason}", retry_after=1)
                for name, reason in self._monitor.unavailable.items()
            }
            skipped = {**unavailable, **self.unusable}
        if skipped and len(self._predictors) - len(skipped) < (self.needed or len(self._predictors)):
            raise NotReady("; ".join(error.detail for error in skipped.values()), retry_after=1)
        available = sum(bool(one.labels) for name, one in self.members.items() if name not in skipped)
        if available < self._needed_classifiers:
            raise NotReady(self._too_few_classifiers(available, "available", skipped), retry_after=1)
        return skipped

    def check_classifiers(self, found: Gathered[MemberResponse]) -> None:
        """Raises an error with the reasons when fewer classifiers have responded than are needed."""
        responded = sum(bool(one.member.labels) for one in found.answers.values())
        if responded < self._needed_classifiers:
            kinds = {type(error) for error in found.missing.values()}
            kind = kinds.pop() if len(kinds) == 1 else UpstreamFailed
            raise kind(self._too_few_classifiers(responded, "that responded", found.missing), retry_after=1)

    def _too_few_classifiers(self, count: int, what: str, reasons: Mapping[str, ServingError]) -> str:
        told = "; ".join(error.detail for error in reasons.values()) or "the other predictors have no labels"
        return f"classifiers {what}: {count}, needed: {self._needed_classifiers}: {told}"

    def calls(self, context: RequestContext, rows: Array, columns: Sequence[str], via: str = "") -> Calls:
        """One coroutine for each predictor, not started yet, with its columns of FP32 `rows` [rows, columns].

        Members that take the same columns share one array. `via` are the ids of the proxies that the request has
        passed; a member that is a proxy gets them, so that a circle is noticed.
        """
        if columns != self.columns:
            raise NotReady("a predictor has just been given another model; send the request again", retry_after=1)
        self._hold(context, len(rows), lambda member: rows.itemsize * len(member.columns))
        shared = {names: rows if names == columns else rows[:, take] for names, take in self._indices.items()}

        def call_member(member: EnsembleMember) -> Coroutine[Any, Any, MemberResponse]:
            inputs = {member.input: shared[member.columns]}
            return self._call(context, self._predictors[member.name], member, inputs, via)

        return self._for_each(call_member)

    def calls_by_item(
        self, context: RequestContext, clients: Mapping[str, PredictorClient], ids: Sequence[str]
    ) -> Calls:
        """One coroutine for each predictor with the ids of items; the predictor reads their features from the store."""
        inputs = {"items": np.array(ids, object)}
        longest = max(map(len, ids), default=0)
        self._hold(context, len(ids), lambda _: longest)

        async def call_member(member: EnsembleMember) -> MemberResponse:
            try:
                return await self._call(context, clients[member.name], member, inputs)
            except ServingError as error:
                raise store_failure(error) or error from None

        return self._for_each(call_member)

    def _hold(self, context: RequestContext, rows: int, sent: Callable[[EnsembleMember], int]) -> None:
        """Counts what all calls together take: each sends a copy of its columns, and its answer is read and combined.

        `sent` is the number of bytes that a member gets for each row. Raises Overloaded, PayloadTooLarge.
        """
        called = [self.members[name] for name in self._predictors.keys() - self.skipped().keys()]
        answers = sum(_ANSWER_BYTES * max(len(member.labels), 1) for member in called)
        context.hold(rows * (sum(map(sent, called)) + answers))

    def _for_each(self, call_member: Callable[[EnsembleMember], Coroutine[Any, Any, MemberResponse]]) -> Calls:
        skipped = self.skipped()
        return {
            name: _fail_call(skipped[name]) if name in skipped else call_member(self.members[name])
            for name in self._predictors
        }

    async def _call(
        self,
        context: RequestContext,
        client: PredictorClient,
        member: EnsembleMember,
        inputs: Mapping[str, Array],
        via: str = "",
    ) -> MemberResponse:
        (rows,) = {len(array) for array in inputs.values()}
        parameters = {"via": via} if member.composed else None
        seconds = self._timeout and min(self._timeout, TIME_SHARE * context.deadline.remaining)
        result = await call(
            context, client, inputs, outputs=(member.output,), timeout_seconds=seconds, parameters=parameters
        )
        if result.model_version not in member.versions:
            member = await self._updated_member(context, member)
        if fetch := _FETCH.search(result.server_timing):
            context.stages["fetch"] = max(context.stages.get("fetch", 0.0), float(fetch[1]))
        return member.read(result, rows)

    async def _updated_member(self, context: RequestContext, member: EnsembleMember) -> EnsembleMember:
        """The member with its current metadata, after another version has answered.

        Raises UpstreamFailed when its columns or labels have changed, because the columns of the response then have
        another meaning.
        """
        metadata = await self._predictors[member.name].metadata(deadline=context.deadline)
        updated = EnsembleMember.of(member.name, metadata)
        if replace(updated, versions=member.versions) != member:
            raise UpstreamFailed(f"predictor {member.name} has just been given another model; send the request again")
        return updated


async def _fail_call(error: ServingError) -> MemberResponse:
    raise error.with_traceback(None)  # it is raised many times, and each time would add to its traceback
