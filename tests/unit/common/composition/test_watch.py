"""The watch over a proxy's predictors: one miss is forgiven, two in a row are not, an answer heals."""

from __future__ import annotations

from time import monotonic

from common.client import ModelMetadata
from common.composition.watch import Watch
from common.deadline import Deadline
from common.errors import DeadlineExceeded
from tests.unit.common.polling import until


class Teller:
    """A predictor that tells of itself while it is well."""

    def __init__(self) -> None:
        self.well, self.asked = True, list[float]()

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata:
        self.asked.append(monotonic())
        if not self.well:
            raise DeadlineExceeded("it gave no answer")
        return ModelMetadata("m", ("1",), (), ())


async def looked(watch: Watch, times: int = 1) -> None:
    for _ in range(times):
        await watch.look("one")


async def test_who_has_never_answered_is_away_from_the_start() -> None:
    teller = Teller()
    teller.well = False
    watch = Watch({"one": teller})
    assert watch.unready() == "predictor one has not answered yet"
    await looked(watch)
    assert watch.unready() == "predictor one cannot answer: it gave no answer"


async def test_one_miss_is_forgiven_and_two_in_a_row_are_not() -> None:
    teller = Teller()
    watch = Watch({"one": teller})
    for _ in range(3):
        teller.well = True
        await looked(watch)
        teller.well = False
        await looked(watch)
        assert watch.unready() is None
    await looked(watch)
    assert watch.unready() == "predictor one cannot answer: it gave no answer"
    assert watch.known.keys() == {"one"}


async def test_one_answer_heals() -> None:
    teller = Teller()
    watch = Watch({"one": teller})
    await looked(watch)
    teller.well = False
    await looked(watch, 5)
    teller.well = True
    await looked(watch)
    assert watch.unready() is None
    teller.well = False
    await looked(watch)
    assert watch.unready() is None


async def test_after_a_miss_it_looks_again_soon() -> None:
    teller = Teller()
    watch = Watch({"one": teller})
    async with watch.running():
        await until(lambda: teller.asked, "the first look")
        teller.well = False
        await until(lambda: watch.reasons, "two misses")
        first, missed, again = teller.asked
        assert again - missed < missed - first
