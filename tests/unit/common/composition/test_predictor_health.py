"""The monitor over a proxy's predictors: one miss is forgiven, two in a row are not, an answer heals."""

from __future__ import annotations

from time import monotonic

import pytest

from common.client import ModelMetadata
from common.composition.predictor_health import HealthMonitor
from common.errors import DeadlineExceeded
from common.request.deadline import Deadline
from tests.unit.common.polling import until


class Teller:
    """A predictor that tells of itself while it is well."""

    def __init__(self) -> None:
        self.well, self.asked = True, list[float]()
        self.versions: tuple[str, ...] = ("1",)

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata:
        self.asked.append(monotonic())
        if not self.well:
            raise DeadlineExceeded("it gave no answer")
        return ModelMetadata("m", self.versions, (), ())


async def looked(monitor: HealthMonitor, times: int = 1) -> None:
    for _ in range(times):
        await monitor.poll("one")


async def test_a_predictor_that_never_responded_is_unavailable_from_the_start() -> None:
    teller = Teller()
    teller.well = False
    monitor = HealthMonitor({"one": teller})
    assert monitor.unready() == "predictor one has not answered yet"
    await looked(monitor)
    assert monitor.unready() == "predictor one cannot answer: it gave no answer"


async def test_one_miss_is_forgiven_and_two_in_a_row_are_not() -> None:
    teller = Teller()
    monitor = HealthMonitor({"one": teller})
    for _ in range(3):
        teller.well = True
        await looked(monitor)
        teller.well = False
        await looked(monitor)
        assert monitor.unready() is None
    await looked(monitor)
    assert monitor.unready() == "predictor one cannot answer: it gave no answer"
    assert monitor.metadata.keys() == {"one"}


async def test_one_answer_heals() -> None:
    teller = Teller()
    monitor = HealthMonitor({"one": teller})
    await looked(monitor)
    teller.well = False
    await looked(monitor, 5)
    teller.well = True
    await looked(monitor)
    assert monitor.unready() is None
    teller.well = False
    await looked(monitor)
    assert monitor.unready() is None


async def test_after_a_failed_poll_it_polls_again_soon() -> None:
    teller = Teller()
    monitor = HealthMonitor({"one": teller})
    async with monitor.running():
        await until(lambda: teller.asked, "the first look")
        teller.well = False
        await until(lambda: monitor.unavailable, "two misses")
        first, missed, again = teller.asked
        assert again - missed < missed - first


async def test_derived_state_is_computed_again_only_after_a_change() -> None:
    teller, changes = Teller(), list[dict[str, ModelMetadata]]()
    monitor = HealthMonitor({"one": teller})
    monitor.on_change(lambda: changes.append(dict(monitor.metadata)))
    await looked(monitor, 3)
    assert [list(change) for change in changes] == [["one"]]
    teller.versions = ("1", "2")
    await looked(monitor, 3)
    assert [change["one"].versions for change in changes] == [("1",), ("1", "2")]


async def test_a_subscriber_that_fails_is_logged_and_does_not_end_the_polling(caplog: pytest.LogCaptureFixture) -> None:
    teller, defects = Teller(), [RuntimeError("a defect")]
    monitor = HealthMonitor({"one": teller})

    def subscriber() -> None:
        if defects:
            raise defects.pop()

    monitor.on_change(subscriber)
    async with monitor.running():
        await until(lambda: monitor.unready() == "predictor one cannot be used: RuntimeError('a defect')", "the defect")
        await until(lambda: monitor.unready() is None, "recovery")
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "predictor one cannot be used" in record.getMessage()
