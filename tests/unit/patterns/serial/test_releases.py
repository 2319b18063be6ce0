"""The current release is the newest version that all predictors list, and it is switched as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import pytest

from common.client import ModelMetadata, PredictorResponse
from common.composition.predictor_health import HealthMonitor
from common.errors import NotReady, UpstreamFailed
from common.protocol.tensors import Array
from common.request.deadline import Deadline
from patterns.serial.releases import Releases


class Listed:
    """A predictor that lists versions, or is away while it lists none."""

    def __init__(self, name: str, *versions: str, pinned: str = "") -> None:
        self.name, self.versions, self.version = name, versions, pinned

    async def infer(
        self,
        inputs: Mapping[str, Array],
        *,
        deadline: Deadline,
        outputs: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> PredictorResponse:
        return PredictorResponse({}, self.name, self.version)

    async def metadata(self, *, deadline: Deadline) -> ModelMetadata:
        if not self.versions:
            raise UpstreamFailed("away")
        return ModelMetadata(self.name, self.versions, (), (), {"of": self.version or self.versions[-1]})

    def pinned(self, version: str) -> Self:
        return type(self)(self.name, *self.versions, pinned=version)


async def releases(*predictors: Listed, optional: Sequence[str] = ()) -> Releases:
    """Over predictors that have all been asked once."""
    named = {one.name: one for one in predictors}
    found = Releases(HealthMonitor(named), named, optional)
    await found.refresh()
    return found


async def version(found: Releases) -> str:
    return (await found.current(Deadline.after(1))).version


async def test_it_is_the_newest_version_that_all_list() -> None:
    found = await releases(Listed("one", "9", "10"), Listed("other", "8", "9", "10"), Listed("third", "9"))
    assert found.version == ""
    assert await version(found) == found.version == "9"
    assert found.unready() is None


async def test_every_part_is_of_that_version() -> None:
    found = await releases(Listed("one", "1", "2"), Listed("other", "1"))
    release = await found.current(Deadline.after(1))
    assert {name: model.metadata.properties["of"] for name, model in release.models.items()} == {
        "one": "1",
        "other": "1",
    }
    answers = [await model.predictor.infer({}, deadline=Deadline.after(1)) for model in release.models.values()]
    assert [answer.model_version for answer in answers] == ["1", "1"]


async def test_it_switches_once_the_last_predictor_has_the_new_version() -> None:
    one, other = Listed("one", "1"), Listed("other", "1")
    found = await releases(one, other)
    before = await found.current(Deadline.after(1))
    one.versions = ("1", "2")
    await found.refresh()
    assert await found.current(Deadline.after(1)) is before
    other.versions = ("1", "2")
    await found.refresh()
    assert await version(found) == "2"
    assert before.version == "1"


async def test_a_predictor_that_becomes_unreachable_keeps_its_metadata() -> None:
    one, other = Listed("one", "1"), Listed("other", "1")
    found = await releases(one, other)
    assert await version(found) == "1"
    other.versions = ()
    for _ in range(2):
        await found.refresh()
        assert await version(found) == "1"
    assert "other" in (found.unready() or "")
    assert found.unavailable("other") == "cannot answer: away"
    assert found.unavailable("one") is None


async def test_without_a_common_version_the_reason_lists_each_predictors_versions() -> None:
    found = await releases(Listed("one", "1"), Listed("other", "2", "3"))
    assert found.unready() == "no version is common to all models: one has 1, other has 2 and 3"
    with pytest.raises(NotReady, match="other has 2 and 3"):
        await found.current(Deadline.after(1))


async def test_an_optional_predictor_that_never_responded_delays_no_request() -> None:
    heavy = Listed("heavy")
    found = await releases(Listed("one", "1"), heavy, optional=["heavy"])
    assert found.unready() is None
    assert (await found.current(Deadline.after(1))).models.keys() == {"one"}
    heavy.versions = ("1",)
    await found.refresh()
    assert (await found.current(Deadline.after(1))).models.keys() == {"one", "heavy"}


async def test_one_that_is_needed_and_never_answered_does() -> None:
    found = await releases(Listed("one", "1"), Listed("other"))
    assert found.unready() == "predictor other cannot answer: away"
    with pytest.raises(NotReady, match="other"):
        await found.current(Deadline.after(1))
