"""The predictors that are asked side by side: who they are, and how each of them is asked the same question."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import numpy as np

from common.client import ModelMetadata, PredictorClient
from common.composition.flow import call
from common.composition.predictor_health import HealthMonitor
from common.errors import NotReady, ServingError, UpstreamFailed
from common.protocol.tensors import Array
from common.request.context import RequestContext
from patterns.parallel.member import EnsembleMember, MemberResponse

Calls = dict[str, Coroutine[Any, Any, MemberResponse]]
_FETCH = re.compile(r"\bfetch;dur=([\d.]+)")  # in the Server-Timing of a predictor that fetches features itself


class Ensemble:
    """Who can be asked, by name and in the order of PREDICTORS.

    `columns` are the features that a row must have, `labels` those that the classifiers share, `unfit` says why a
    predictor is never asked. With `needed` None, all of them have to answer before the deadline. With a number, so many
    within `within` seconds are enough, and who does not even answer the monitor is passed over until it does: every
    request would wait for it until its deadline.
    """

    def __init__(
        self,
        monitor: HealthMonitor,
        predictors: Mapping[str, PredictorClient],
        within: float | None,
        needed: int | None,
    ) -> None:
        self._monitor, self._predictors, self._within, self.needed = monitor, predictors, within, needed
        self._known: dict[str, ModelMetadata] = {}
        self._agree()

    def _agree(self) -> None:
        """Takes as members all regressors, and the classifiers whose labels are those of most."""
        told: dict[str, EnsembleMember] = {}
        self.unfit: dict[str, ServingError] = {}
        for name in self._predictors:
            try:
                told[name] = EnsembleMember.of(name, self._known[name])
            except KeyError:
                self.unfit[name] = NotReady(f"predictor {name} has not said yet what it takes", retry_after=1)
            except UpstreamFailed as error:
                self.unfit[name] = error
        counted = Counter(one.labels for one in told.values() if one.labels).most_common(1)
        self.labels = counted[0][0] if counted else ()
        for name, one in told.items():
            if one.labels not in ((), self.labels):
                text = f"predictor {name} has the labels {', '.join(one.labels)}, the others {', '.join(self.labels)}"
                self.unfit[name] = UpstreamFailed(text)
        self.members = {name: one for name, one in told.items() if name not in self.unfit}
        self.columns = tuple(dict.fromkeys(column for one in self.members.values() for column in one.columns))
        self._take = {one.columns: [self.columns.index(name) for name in one.columns] for one in self.members.values()}

    def absent(self) -> dict[str, ServingError]:
        """Who is passed over just now, and why. Raises NotReady where too few are left to be asked."""
        if any(self._known.get(name) is not told for name, told in self._monitor.metadata.items()):
            self._known = dict(self._monitor.metadata)
            self._agree()
        absent = self.unfit
        if self.needed is not None and self._monitor.unavailable:
            away = self._monitor.unavailable.items()
            absent = {**{name: NotReady(f"predictor {name} {why}", retry_after=1) for name, why in away}, **absent}
        if absent and len(self._predictors) - len(absent) < (self.needed or len(self._predictors)):
            raise NotReady("; ".join(error.detail for error in absent.values()), retry_after=1)
        return absent

    def ask(self, context: RequestContext, rows: Array, columns: Sequence[str]) -> Calls:
        """A call of each with its part of FP32 `rows` that have these columns; those that take the same share it."""
        absent = self.absent()
        if columns != self.columns:
            raise NotReady("a predictor has become another model meanwhile; ask again", retry_after=1)
        shared = {names: rows if names == columns else rows[:, take] for names, take in self._take.items()}
        return self._calls(context, absent, self._predictors, lambda one: {one.input: shared[one.columns]}, len(rows))

    def ask_by_item(self, context: RequestContext, twins: Mapping[str, PredictorClient], ids: Sequence[str]) -> Calls:
        """The same of their twins, which fetch the features of items themselves."""
        items = {"items": np.array(ids, object)}
        return self._calls(context, self.absent(), twins, lambda _: items, len(ids))

    def _calls(
        self,
        context: RequestContext,
        absent: Mapping[str, ServingError],
        clients: Mapping[str, PredictorClient],
        inputs: Callable[[EnsembleMember], Mapping[str, Array]],
        rows: int,
    ) -> Calls:
        there = {name: one for name, one in self.members.items() if name not in absent}
        calls = {name: self._call(context, clients[name], one, inputs(one), rows) for name, one in there.items()}
        return {name: calls[name] if name in calls else _refused(absent[name]) for name in self._predictors}

    async def _call(
        self,
        context: RequestContext,
        client: PredictorClient,
        member: EnsembleMember,
        inputs: Mapping[str, Array],
        rows: int,
    ) -> MemberResponse:
        parameters = {"hops": hops(context) + 1} if member.composed else None
        wanted = (member.output,)
        result = await call(context, client, inputs, outputs=wanted, within=self._within, parameters=parameters)
        if result.model_version not in member.versions:  # swapped: what its answer means has to be asked anew
            told = await self._predictors[member.name].metadata(deadline=context.deadline)
            before, member = member, EnsembleMember.of(member.name, told)
            if (member.columns, member.labels) != (before.columns, before.labels):
                raise UpstreamFailed(f"predictor {member.name} has become another model; ask again")
        if fetch := _FETCH.search(result.server_timing):
            context.stages["fetch"] = max(context.stages.get("fetch", 0.0), float(fetch[1]))
        return member.read(result, rows)


async def _refused(error: ServingError) -> MemberResponse:
    raise error.with_traceback(None)  # it is raised many times, and would remember each


def hops(context: RequestContext) -> int:
    """Through how many proxies of this kind a request has come."""
    given = context.request_parameters.get("hops", 0)
    return given if isinstance(given, int) else 0
