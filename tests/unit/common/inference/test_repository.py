"""Models are loaded, swapped and unloaded while they answer; what cannot be served leaves what can alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import NotFound, NotReady
from common.inference.manifest import ModelLoadError
from tests.unit.common.inference import tiny_models as tiny
from tests.unit.common.inference.temporary_repository import TemporaryRepository
from tests.unit.common.polling import until


@pytest.fixture
def repository(tmp_path: Path) -> TemporaryRepository:
    return TemporaryRepository(tmp_path / "models")


async def test_a_registered_model_is_not_ready_rather_than_unknown(repository: TemporaryRepository) -> None:
    repository.models.register("tiny")
    for version in (None, "1"):
        with pytest.raises(NotReady, match="model 'tiny' is not ready: not loaded yet"):
            repository.models.get("tiny", version)
    with pytest.raises(NotFound, match="model 'other' is not served here; the models are: tiny"):
        repository.models.get("other")


async def test_the_newest_version_answers(repository: TemporaryRepository) -> None:
    for version, factor in (("2", 20), ("10", 100), ("9", 90)):
        repository.put(version, factor)
    async with repository.open("tiny"):
        assert await repository.ask() == ("10", 200)
        with pytest.raises(NotFound, match="version '9' of model 'tiny' is not served here; the versions are: 10"):
            repository.models.get("tiny", "9")


async def test_versions_answer_side_by_side_where_several_are_kept(tmp_path: Path) -> None:
    repository = TemporaryRepository(tmp_path, keep=2)
    for version in ("1", "2", "3"):
        repository.put(version, float(version))
    async with repository.open("tiny"):
        assert [await repository.ask("2"), await repository.ask("3"), await repository.ask()] == [
            ("2", 4),
            ("3", 6),
            ("3", 6),
        ]
        repository.put("4", 4)
        await repository.models.load("tiny")
        assert list(repository.models.entries()["tiny"].versions) == ["3", "4"]


async def test_several_models_answer_side_by_side(repository: TemporaryRepository) -> None:
    repository.put("1", 1, "one")
    repository.put("7", 7, "seven")
    async with repository.open("one", "seven"):
        assert [await repository.ask(name="one"), await repository.ask(name="seven")] == [("1", 2), ("7", 14)]
    assert [(line["model"], line["version"]) for line in repository.logged.lines("model ready")] in (
        [("one", "1"), ("seven", "7")],
        [("seven", "7"), ("one", "1")],
    )


async def test_a_swap_under_load_loses_no_request_and_mixes_no_versions(repository: TemporaryRepository) -> None:
    repository.put("1", 1)
    async with repository.open("tiny"):
        answers: list[tuple[str, float]] = []
        swapped = asyncio.Event()

        async def keep_asking() -> None:
            while not swapped.is_set():
                answers.append(await repository.ask())
            answers.append(await repository.ask())

        callers = [asyncio.create_task(keep_asking()) for _ in range(8)]
        for version in ("2", "3", "4"):
            repository.put(version, float(version))
            await repository.models.load("tiny")
        swapped.set()
        await asyncio.gather(*callers)
    assert all(made == 2 * float(version) for version, made in answers)
    assert {version for version, _ in answers} >= {"1", "4"}


async def test_a_rebuilt_model_of_the_same_version_is_reloaded(repository: TemporaryRepository) -> None:
    repository.put("1", 1)
    async with repository.open("tiny"):
        before = repository.models.get("tiny")
        await repository.models.load("tiny")
        assert repository.models.get("tiny") is before
        repository.put("1", 5)
        await repository.models.load("tiny")
        assert await repository.ask() == ("1", 10)


def replace_by(model: bytes, **changes: Any) -> Callable[[Path], object]:
    return lambda folder: tiny.write(folder.parents[1], model, version="2", **changes)


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda folder: (folder / "model.onnx").write_bytes(b"\x08"), "the file is incomplete"),
    "no manifest": (lambda folder: (folder / "model.yaml").unlink(), "No such file or directory"),
    "not text": (lambda folder: (folder / "model.yaml").write_bytes(b"\xff\x00"), "expected text in UTF-8"),
    "wrong shape": (replace_by(tiny.fixed_rows()), "but model.yaml says FP32 [-1, 2]"),
    "fails": (replace_by(tiny.always_fails(), examples=[{"features": [1, 2]}]), "the model fails on its example 0"),
    "misplaced": (lambda folder: folder.rename(folder.with_name("3")), "but its folder is tiny/3"),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_broken_new_version_leaves_the_old_one_serving_and_says_why_once(
    repository: TemporaryRepository, how: str
) -> None:
    spoil, reason = BROKEN[how]
    repository.put("1", 1)
    async with repository.open("tiny"):
        spoil(repository.put("2", 2))
        for _ in range(3):
            with pytest.raises(ModelLoadError) as caught:
                await repository.models.load("tiny")
            assert reason in caught.value.detail
        assert await repository.ask() == ("1", 2)
        (line,) = repository.logged.lines("model not loaded")
        assert (line["model"], line["reason"], line["still_serving"]) == ("tiny", caught.value.detail, "1")


async def test_a_broken_version_does_not_keep_another_from_being_loaded(tmp_path: Path) -> None:
    repository = TemporaryRepository(tmp_path, keep=2)
    (repository.put("1", 1) / "model.onnx").unlink()
    repository.put("2", 2)
    with pytest.raises(ModelLoadError, match=r"1/model\.onnx: No such file"):
        await repository.models.load("tiny")
    assert await repository.ask() == ("2", 4)


async def test_a_partly_copied_model_is_loaded_once_it_is_complete(repository: TemporaryRepository) -> None:
    folder = repository.put("1", 1)
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[:50])
    async with repository.models.open(["tiny"], retry_seconds=0.01):
        await until(lambda: repository.logged.lines("model not loaded"), "the refusal")
        with pytest.raises(NotReady, match="the file is incomplete"):
            repository.models.get("tiny")
        for _ in range(10):  # several attempts later it has still been said once only
            await asyncio.sleep(0.01)
        (folder / "complete").write_bytes(whole)  # renamed, so that no attempt reads half of it
        (folder / "complete").rename(folder / "model.onnx")
        await until(lambda: repository.models.entries()["tiny"].versions, "the whole model")
        assert await repository.ask() == ("1", 2)
    (line,) = repository.logged.lines("model not loaded")
    assert line["still_serving"] is None


async def test_a_model_that_was_not_there_at_the_start_is_loaded_when_it_comes(repository: TemporaryRepository) -> None:
    async with repository.models.open(["tiny"], retry_seconds=0.01):
        await until(lambda: repository.logged.lines("model not loaded"), "the refusal")
        (line,) = repository.logged.lines("model not loaded")
        assert (
            "there is no folder with a version such as 1; build the model with `make models` if it has"
            in line["reason"]
        )
        repository.put("1", 1)
        await until(lambda: repository.models.entries()["tiny"].versions, "the model")


async def test_an_unloaded_model_answers_no_more_and_can_come_back(repository: TemporaryRepository) -> None:
    repository.put("1", 1)
    async with repository.open("tiny"):
        accepted = asyncio.create_task(repository.ask())
        await asyncio.sleep(0)
        await repository.models.unload("tiny")
        assert await accepted == ("1", 2)
        with pytest.raises(NotReady, match="unloaded over the API"):
            await repository.ask()
        assert not list(repository.models.required()), "what was unloaded on purpose does not make the service unready"
        await repository.models.load("tiny")
        assert await repository.ask() == ("1", 2)
    with pytest.raises(NotFound):
        await repository.models.unload("other")


@pytest.mark.parametrize("name", ["..", "../tiny", "tiny/1", "/etc", ".hidden", "", "*", "ti?y", "tiny\n", "a" * 200])
async def test_a_name_never_becomes_a_path(repository: TemporaryRepository, name: str) -> None:
    repository.put("1", 1)
    tiny.write(repository.root.parent, tiny.total(), "outside")
    with pytest.raises(NotFound) as unknown:
        await repository.models.load(name)
    assert str(repository.root) not in unknown.value.detail
    repository.models.register(name)
    with pytest.raises(ModelLoadError):
        await repository.models.load(name)


async def test_only_numbered_folders_are_versions(repository: TemporaryRepository) -> None:
    repository.put("1", 1)
    for name in ("latest", "2.bak", ".fetch-x", "²"):
        (repository.root / "tiny" / name).mkdir()
        (repository.root / "tiny" / name / "model.yaml").write_text("")
    (repository.root / "tiny" / "3").write_text("a file")
    assert repository.models.available() == [("tiny", "1")]
    async with repository.open("tiny"):
        assert await repository.ask() == ("1", 2)


async def test_a_model_whose_inputs_may_be_of_any_size_never_holds_the_loop(repository: TemporaryRepository) -> None:
    free = tiny.graph(tiny.node("ReduceSum", "x one", "y", keepdims=0), constants={"one": tiny.ints(1)}, x=["n", "m"])
    tiny.write(repository.models.root, free, "free", inputs=[{"name": "x", "datatype": "FP32", "shape": [-1, -1]}])
    repository.put("1", 1)
    async with repository.open("free", "tiny"):
        assert repository.models.get("free").batcher.slow(1)
        assert not repository.models.get("tiny").batcher.slow(1)
