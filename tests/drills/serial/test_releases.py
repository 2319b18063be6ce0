"""Models that depend on each other are released together: no answer mixes two releases, also not while they change.

On local processes alone: the tests write versions into the predictors' repository, and a container has no folder of
this machine.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from runtimes.base import Stack
from tests.asking.serial import STAGES, encoded, picture, post, read, sample, texts
from tests.conftest import Start
from tests.load import Load, request
from tests.support import built, eventually, metric, soon

pytestmark = pytest.mark.runs_on("local")

MODELS = dict(
    zip(STAGES, ("page_orientation", "text_detection", "text_recognition", "text_recognition_heavy"), strict=True)
)


CALLERS = 2
FIRST_LINE = encoded(picture("page.jpg").crop((0, 0, 384, 40)))  # read in a tenth of the whole page's time


class Versions:
    """The folder that all predictors load from; every version is the same model under another number."""

    def __init__(self, root: Path) -> None:
        self.root, self.newest = root, 0

    def next(self, stages: Sequence[str] = STAGES) -> str:
        """The next version, of these stages' models."""
        self.newest += 1
        return self.put(stages)

    def put(self, stages: Sequence[str]) -> str:
        version = str(self.newest)
        for stage in stages:
            folder = self.root / MODELS[stage] / version
            folder.mkdir(parents=True)
            source = built(MODELS[stage], *MODELS.values())
            (folder / "model.onnx").symlink_to(source / "model.onnx")
            manifest = (source / "model.yaml").read_text()  # as text: it holds thousands of labels
            (folder / "model.yaml").write_text(manifest.replace("version: '1'\n", f"version: '{version}'\n", 1))
        return version

    def remove(self, stage: str) -> None:
        shutil.rmtree(self.root / MODELS[stage])


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    versions = Versions(tmp_path_factory.mktemp("models"))
    versions.next()
    return versions


@pytest.fixture(scope="module")
def stack(start_local: Start, versions: Versions) -> Stack:
    """Shared by the tests: each begins with whatever release the one before has left."""
    return start_local("serial", FAULTS="true", MODEL_CONTROL="true", MODEL_REPOSITORY=str(versions.root))


def load(stack: Stack, stage: str) -> None:
    answer = httpx.post(f"{stack.url(stage)}/v2/repository/models/{MODELS[stage]}/load", timeout=20)
    assert answer.status_code == 200, answer.text


def released(stack: Stack) -> str:
    """The release that reads a page's first line; empty while there is none."""
    answer = post(stack.url(), FIRST_LINE)
    return str(answer.json()["model_release"]) if answer.status_code == 200 else ""


class Honest:
    """Whether every model that an answer names is of the answer's one release."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, body: bytes) -> bool:
        told = json.loads(body)
        release = told.get("model_release", "")
        self.seen.add(release)
        return {name.rpartition("/")[2] for name in told["models"].values()} == {release} and not told["missing"]


async def test_no_answer_mixes_releases_while_they_are_swapped_under_load(stack: Stack, versions: Versions) -> None:
    honest, held = Honest(), [await asyncio.to_thread(released, stack)]
    async with Load(
        stack.url(), [request("/read", sample("page.jpg"), media="image/jpeg")], honest, callers=CALLERS
    ) as callers:
        for order in (STAGES, STAGES[::-1]):
            version = versions.next()
            for stage in order:
                assert await asyncio.to_thread(released, stack) == held[-1]
                await asyncio.to_thread(load, stack, stage)
                await callers.answered(callers.tally.answered + 1)
            held.append(version)
            await soon(lambda: released(stack) == held[-1], "the new release answers")
            await callers.answered(callers.tally.answered + CALLERS + 1)  # of which one was sent after that
    tally = callers.tally
    assert (tally.lost, tally.wrong) == ([], [])
    assert tally.sent == tally.answered == tally.statuses[200]
    assert honest.seen == set(held)


def test_a_page_whose_release_vanishes_under_it_is_read_anew(stack: Stack, versions: Versions) -> None:
    before = released(stack)
    httpx.post(f"{stack.url('orientation')}/faults", json={"hang": True}).raise_for_status()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(httpx.post, f"{stack.url()}/read", content=sample("page.jpg"), timeout=60)
        eventually(lambda: metric(stack.url("orientation"), "serving_requests_in_progress") > 1, 5, "it has begun")
        for _ in range(2):
            newest = versions.next()
            for stage in STAGES:
                load(stack, stage)
        httpx.post(f"{stack.url('orientation')}/faults", json={}).raise_for_status()
        reading = answer.result().json()
    assert reading["model_release"] == newest != before
    assert set(reading["models"].values()) == {f"{model}/{newest}" for model in MODELS.values()}
    assert texts(reading) == texts(read(stack.url(), sample("page.jpg")))


def test_without_a_common_release_it_is_unready_and_says_why(stack: Stack, versions: Versions) -> None:
    stack.kill("detection")
    versions.remove("detection")
    newest = versions.next(["detection"])
    stack.start("detection")
    eventually(lambda: f"detection has {newest}" in unready(stack), 20, "the proxy has noticed")
    assert "no version is common to all models" in unready(stack)
    answer = post(stack.url(), sample("page.jpg"))
    assert answer.status_code == 503
    assert "no version is common" in answer.json()["detail"]
    assert answer.headers["Retry-After"]

    others = ("orientation", "recognition", "recognition-heavy")
    versions.put(others)
    for stage in others:
        load(stack, stage)
    eventually(lambda: released(stack) == newest, 20, "the new release answers")
    assert not unready(stack)


def unready(stack: Stack) -> str:
    answer = httpx.get(f"{stack.url()}/readyz", timeout=5)
    return "" if answer.status_code == 200 else "; ".join(answer.json()["reasons"])
