"""The predictors that are called at the same time: which of them can be called, and the call of each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from common.client import PredictorClient
from common.composition.flow import call
from common.composition.predictor_health import HealthMonitor
from common.errors import NotReady, ServingError, UpstreamFailed
from common.protocol.tensors import Array
from common.request.context import RequestContext
from patterns.parallel.member import EnsembleMember, MemberResponse

Calls = dict[str, Coroutine[Any, Any, MemberResponse]]
_FETCH = re.compile(r"\bfetch;dur=([\d.]+)")  # in the Server-Timing of a predictor that fetches features itself


class Ensemble:
    """The members by name, in the order of PREDICTORS; they follow what the predictors say of themselves.

    `columns` are the features that a row must have, `labels` those that the classifiers share, `unfit` says why a
    predictor is never asked. With `needed` None, all predictors have to answer before the deadline. With a number, so
    many answers within `timeout` seconds are enough, and a predictor that the health monitor finds unavailable is not
    asked until it is back: every request would wait until its timeout.
    """

    def __init__(
        self,
        monitor: HealthMonitor,
        predictors: Mapping[str, PredictorClient],
        timeout: float | None,
        needed: int | None,
    ) -> None:
        self._monitor, self._predictors, self._timeout, self.needed = monitor, predictors, timeout, needed
        monitor.on_change(self._choose_members)
        self._choose_members()

    def _choose_members(self) -> None:
        """Takes as members all regressors, and the classifiers whose labels are those of most classifiers."""
        known, unfit = self._read_metadata()
        counted = Counter(one.labels for one in known.values() if one.labels).most_common(1)
        labels = counted[0][0] if counted else ()
        for name, one in known.items():
            if one.labels not in ((), labels):
                text = (
                    f"predictor {name} has the labels {', '.join(one.labels)}, but most others have {', '.join(labels)}"
                )
                unfit[name] = UpstreamFailed(text)
        members = {name: one for name, one in known.items() if name not in unfit}
        self.members, self.unfit, self.labels = members, unfit, labels
        self.columns = tuple(dict.fromkeys(column for one in members.values() for column in one.columns))
        self._indices = {one.columns: [self.columns.index(name) for name in one.columns] for one in members.values()}

    def _read_metadata(self) -> tuple[dict[str, EnsembleMember], dict[str, ServingError]]:
        """The predictors whose model can be a member, and why the others cannot."""
        known: dict[str, EnsembleMember] = {}
        unfit: dict[str, ServingError] = {}
        for name in self._predictors:
            metadata = self._monitor.metadata.get(name)
            if metadata is None:
                unfit[name] = NotReady(f"predictor {name} has not described its model yet", retry_after=1)
                continue
            try:
                known[name] = EnsembleMember.of(name, metadata)
            except UpstreamFailed as error:
                unfit[name] = error
        return known, unfit

    def not_asked(self) -> dict[str, ServingError]:
        """The predictors that are not asked now, and why. Raises NotReady when too few are left."""
        not_asked = self.unfit
        if self.needed is not None and self._monitor.unavailable:
            unavailable = {
                name: NotReady(f"predictor {name} {reason}", retry_after=1)
                for name, reason in self._monitor.unavailable.items()
            }
            not_asked = {**unavailable, **self.unfit}
        if not_asked and len(self._predictors) - len(not_asked) < (self.needed or len(self._predictors)):
            raise NotReady("; ".join(error.detail for error in not_asked.values()), retry_after=1)
        return not_asked

    def ask(self, context: RequestContext, rows: Array, columns: Sequence[str], hops: int = 0) -> Calls:
        """One call for each predictor, with its columns of FP32 `rows` [rows, columns].

        Members that take the same columns share one array. `hops` is the number of proxies that the request has come
        through.
        """
        if columns != self.columns:
            raise NotReady("a predictor has just been given another model; send the request again", retry_after=1)
        shared = {names: rows if names == columns else rows[:, take] for names, take in self._indices.items()}

        def call_member(member: EnsembleMember) -> Coroutine[Any, Any, MemberResponse]:
            inputs = {member.input: shared[member.columns]}
            return self._call(context, self._predictors[member.name], member, inputs, hops)

        return self._calls(call_member)

    def ask_by_item(self, context: RequestContext, clients: Mapping[str, PredictorClient], ids: Sequence[str]) -> Calls:
        """One call for each predictor with the ids of items, whose features it fetches itself."""
        inputs = {"items": np.array(ids, object)}
        return self._calls(lambda member: self._call(context, clients[member.name], member, inputs))

    def _calls(self, call_member: Callable[[EnsembleMember], Coroutine[Any, Any, MemberResponse]]) -> Calls:
        not_asked = self.not_asked()
        return {
            name: _refuse(not_asked[name]) if name in not_asked else call_member(self.members[name])
            for name in self._predictors
        }

    async def _call(
        self,
        context: RequestContext,
        client: PredictorClient,
        member: EnsembleMember,
        inputs: Mapping[str, Array],
        hops: int = 0,
    ) -> MemberResponse:
        (rows,) = {len(array) for array in inputs.values()}
        parameters = {"hops": hops + 1} if member.composed else None
        result = await call(
            context, client, inputs, outputs=(member.output,), timeout_seconds=self._timeout, parameters=parameters
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


async def _refuse(error: ServingError) -> MemberResponse:
    raise error.with_traceback(None)  # it is raised many times, and each time would add to its traceback
