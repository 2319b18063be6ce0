"""A plan can only be made for this machine and for a bounded time; the bookkeeping of a turn."""

import msgspec
import pytest

from bench.plan import Plan, Result, percentile


def plan(**changes: object) -> Plan:
    """A valid plan but for the changes."""
    return Plan(**({"port": 1, "requests": [b"x"], "connections": 1, "seconds": 1.0} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("host", ["10.0.0.1", "localhost", "0.0.0.0", "example.org", "127.0.0.2", "::1", ""])
def test_no_plan_is_made_for_another_address(host: str) -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1 alone"):
        plan(host=host)


def test_a_plan_for_another_address_cannot_be_passed_in_from_outside() -> None:
    raw = msgspec.structs.asdict(plan()) | {"host": "10.0.0.1"}
    with pytest.raises(msgspec.ValidationError, match=r"127\.0\.0\.1 alone"):
        msgspec.msgpack.decode(msgspec.msgpack.encode(raw), type=Plan)


@pytest.mark.parametrize(
    "changes",
    [
        {"connections": 0},
        {"connections": 100_000},
        {"seconds": 1e6},
        {"seconds": -10.0},
        {"requests": []},
        {"count": 10, "warm_up_seconds": 1.0},
    ],
)
def test_a_plan_is_bounded(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own text
        plan(**changes)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile(values, 1.0) == 100.0
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([], 0.99) == 0.0


def test_throughput_counts_only_correct_responses() -> None:
    result = Result(
        answered=30,
        seconds=2.0,
        p50=0.0,
        p99=0.0,
        longest=0.0,
        errors={"status 503": 8, "refused": 2},
        busy=0.0,
        held_up=0.0,
        answered_in_all=30,
    )
    assert result.throughput == 15.0
    assert result.failures == 10
