"""A model is published complete and checked, or not at all."""

import os
import time
from pathlib import Path

import pytest

from models.errors import BuildError
from tests.unit.models import toy_models

DEADLINE_SECONDS = 15.0
# Example files are published just before the folder is renamed; all files of the model are written by then.
STOP_BEFORE_RENAMING = """type("Stop", (dict,), {{"items": lambda self: (
        __import__("pathlib").Path({flag!r}).touch(), __import__("threading").Event().wait())}})()"""

TAKES_THREE_COLUMNS = """import copy; context = type(context)(copy.deepcopy(context.manifest), context.output)
    context.manifest["inputs"][0]["shape"] = [-1, 3]"""


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    return tmp_path / "recipes"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "build"


def _kill_before_renaming(recipes: Path, output: Path, flag: Path) -> None:
    toy_models.write(recipes, photos=STOP_BEFORE_RENAMING.format(flag=str(flag)))
    process = toy_models.build_in_another_process(recipes, output)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not flag.exists():
        assert process.poll() is None, "the build ended by itself"
        assert time.monotonic() < deadline, "the build did not get to its last step"
        os.sched_yield()
    process.kill()
    process.wait()


def test_a_killed_build_publishes_nothing_and_the_next_one_cleans_up(
    recipes: Path, output: Path, tmp_path: Path
) -> None:
    _kill_before_renaming(recipes, output, tmp_path / "flag")
    assert not (output / "toy").exists()
    toy_models.write(recipes)
    assert toy_models.build(recipes, output) == ["toy"]
    assert toy_models.is_complete(output)


def test_a_killed_build_keeps_the_published_model(recipes: Path, output: Path, tmp_path: Path) -> None:
    toy_models.write(recipes)
    toy_models.build(recipes, output)
    before = (output / "toy" / "1" / "model.yaml").read_bytes()
    _kill_before_renaming(recipes, output, tmp_path / "flag")
    assert (output / "toy" / "1" / "model.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"minimum": 1.5}, "metric quality is 1.0, expected at least 1.5"),
        ({"nodes": toy_models.MINUS_THE_MEAN_OF_ALL_ROWS}, "the output for a row alone and in a batch differs by"),
        ({"first": TAKES_THREE_COLUMNS}, r"'shape': \[-1, 3\]}\], but model.yaml states .* 'shape': \[-1, 2\]"),
    ],
    ids=["metric too low", "rows depend on each other", "wrong shape"],
)
def test_a_model_that_fails_a_check_never_replaces_one_that_passed(
    recipes: Path, output: Path, change: dict[str, str], reason: str
) -> None:
    toy_models.write(recipes)
    toy_models.build(recipes, output)
    before = (output / "toy" / "1" / "model.onnx").read_bytes()
    toy_models.write(recipes, **change)  # type: ignore[arg-type]
    with pytest.raises(BuildError, match=reason):
        toy_models.build(recipes, output)
    assert (output / "toy" / "1" / "model.onnx").read_bytes() == before
    assert toy_models.is_complete(output)


def test_concurrent_builds_wait_for_each_other(recipes: Path, output: Path) -> None:
    toy_models.write(recipes)
    processes = [toy_models.build_in_another_process(recipes, output) for _ in range(2)]
    assert [process.wait(timeout=DEADLINE_SECONDS) for process in processes] == [0, 0]
    assert toy_models.is_complete(output)


def test_further_files_of_a_version_are_published_beside_the_model(recipes: Path, output: Path) -> None:
    toy_models.write(recipes, photos='{}, {"model.skops": b"an estimator"}')
    toy_models.build(recipes, output)
    assert (output / "toy" / "1" / "model.skops").read_bytes() == b"an estimator"
