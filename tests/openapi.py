"""What the tests of OpenAPI documents share: requests made out of a document, none of which may be answered by 5xx."""

from __future__ import annotations

from collections.abc import Collection

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from runtimes.base import Stack


def bounded(examples: int) -> settings:
    """So many examples, the same in every run."""
    quiet = list(HealthCheck)
    return settings(max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=quiet)


def tried(stack: Stack, mode: GenerationMode, examples: int, only: Collection[str] = ()) -> set[str]:
    """Asks every operation, or those in `only`, for what its document allows, or forbids; those that could be asked.

    An operation is named as in `POST /read`; `examples` requests go to one that takes a body, three to any other.
    """
    done = set()
    for found in schemathesis.openapi.from_url(f"{stack.url()}/openapi.json").get_all_operations():
        operation = found.ok()
        if only and operation.label not in only:
            continue

        @bounded(examples if operation.body else 3)
        @given(case=operation.as_strategy(generation_mode=mode))
        def answer_is_no_5xx(case: schemathesis.Case) -> None:
            answer = case.call(timeout=10)
            assert answer.status_code < 500, case.as_curl_command()

        try:
            answer_is_no_5xx()
        except Unsatisfiable:  # an operation without parameters has nothing to get wrong
            continue
        done.add(operation.label)
    return done
