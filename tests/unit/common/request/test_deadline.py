"""A deadline is a duration on the wire and a moment within a process."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import DeadlineExceeded, InvalidInput
from common.request.deadline import Deadline, parse_timeout


def test_the_remaining_time_is_sent_to_the_next_hop() -> None:
    deadline = Deadline.after(5)
    assert not deadline.expired
    deadline.check("nothing")
    assert 4 < parse_timeout(deadline.header()) <= deadline.remaining + 1e-3 < 6


def test_an_expired_deadline_has_no_time_left_and_names_what_is_not_started() -> None:
    deadline = Deadline.after(-1)
    assert deadline.expired
    assert deadline.remaining < 0
    assert deadline.header() == "0.0000"
    with pytest.raises(DeadlineExceeded, match="the deadline passed before inference started") as caught:
        deadline.check("inference started")
    assert (caught.value.status, caught.value.grpc_code) == (504, "DEADLINE_EXCEEDED")


@pytest.mark.parametrize(
    ("text", "seconds"), [("0.25", 0.25), ("1e-3", 0.001), (" 7 ", 7), ("61", 61), ("1e300", 1e300)]
)
def test_a_timeout_is_a_number_of_seconds(text: str, seconds: float) -> None:
    assert parse_timeout(text) == seconds


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected a number of seconds such as 0.25, got ''"),
        ("1_0", "expected a number of seconds such as 0.25, got '1_0'"),
        ("5s", "expected a number of seconds such as 0.25, got '5s'"),
        ("x" * 99, f"got '{'x' * 40}'"),
        ("nan", "expected a finite number"),
        ("inf", "expected a finite number"),
        ("-inf", "expected a finite number"),
        ("0", "expected more than 0 seconds, got 0: the deadline has passed already"),
        ("-0.5", "expected more than 0 seconds, got -0.5"),
    ],
)
def test_an_invalid_timeout_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_timeout(text)
    (error,) = caught.value.fields
    assert error.field == "X-Request-Timeout-Seconds"
    assert reason in error.reason


@given(st.text(max_size=20))
def test_no_text_makes_it_fail_in_another_way(text: str) -> None:
    try:
        seconds = parse_timeout(text)
    except InvalidInput:
        return
    assert seconds > 0
    assert math.isfinite(seconds)
