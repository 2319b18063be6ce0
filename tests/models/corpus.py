"""The corpus: small models, each for a kind that no other covers, and those that cannot be served."""

from __future__ import annotations

from functools import cache

from tests.models import graphs, learned, outputs, refused
from tests.models.case import Case

_PARTS = (
    graphs.datatypes, graphs.ranks, graphs.texts, graphs.numbers, graphs.run_times, graphs.picky,
    outputs.classifiers, outputs.regressors, learned.learned,
    refused.manifests, refused.files, refused.weights_beside,
)  # fmt: skip


@cache
def corpus() -> dict[str, Case]:
    """All cases by name."""
    found = [case for part in _PARTS for case in part()]
    assert len({case.name for case in found}) == len(found), "two models of the corpus have the same name"
    return {case.name: case for case in found}


def served() -> list[Case]:
    return [case for case in corpus().values() if not case.unready]


def unready() -> list[Case]:
    return [case for case in corpus().values() if case.unready]
