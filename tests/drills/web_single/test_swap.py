"""A new version is loaded beside the old one under load; one that cannot serve leaves the old one answering, and says so.

On local processes alone: the tests write new versions into the service's repository, and a container has no folder of
this machine.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from runtimes.base import Stack
from tests.conftest import Start
from tests.load import Load, request
from tests.support import INFER, SETOSA, VIRGINICA, eventually, log_lines, question

BUILT = Path(__file__).parents[3] / "models" / "build"
LOAD = "/v2/repository/models/iris/load"
ROWS = [SETOSA, VIRGINICA]
Manifest = dict[str, Any]


class Versions:
    """The folder that a service serves iris from; its versions are other models under the same name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.put("1", "iris")

    def put(self, version: str, model: str, change: Callable[[Manifest], object] = lambda _: None) -> Path:
        folder = self.root / "iris" / version
        shutil.copytree(BUILT / model / "1", folder)
        manifest = yaml.safe_load((folder / "model.yaml").read_text()) | {"name": "iris", "version": version}
        change(manifest)
        (folder / "model.yaml").write_text(yaml.safe_dump(manifest))
        return folder


@pytest.fixture
def versions(tmp_path: Path, start_local: Start) -> Versions:
    start_local("web_single", MODEL="iris,iris_rf,iris_mlp")  # builds them where they are not there yet
    return Versions(tmp_path / "models")


@pytest.fixture
def stack(versions: Versions, start_local: Start) -> Stack:
    return start_local("web_single", MODEL_CONTROL="true", MODEL_REPOSITORY=str(versions.root))


def load(http: httpx.Client, stack: Stack) -> httpx.Response:
    return http.post(stack.url() + LOAD)


def answer(http: httpx.Client, stack: Stack) -> tuple[str, list[float]]:
    """The version that answers, and its probabilities for ROWS."""
    told = http.post(stack.url() + INFER, json=question(*ROWS)).json()
    return told["model_version"], told["outputs"][0]["data"]


class Honest:
    """Whether an answer is one that the version it names gives; `known` leads from versions to their answers."""

    def __init__(self) -> None:
        self.known: dict[str, list[float]] = {}
        self.seen: set[str] = set()

    def __call__(self, body: bytes) -> bool:
        told = json.loads(body)
        version = told.get("model_version", "")
        self.seen.add(version)
        return version in self.known and told["outputs"][0]["data"] == pytest.approx(self.known[version], abs=1e-4)


async def test_versions_are_swapped_under_load_and_no_answer_mixes_them(
    http: httpx.Client, stack: Stack, versions: Versions
) -> None:
    honest = Honest()
    for version, model in (("1", "iris"), ("2", "iris_rf"), ("3", "iris_mlp"), ("4", "iris")):
        if version != "1":
            versions.put(version, model)
            await wait(load, http, stack)
        told, honest.known[version] = await wait(answer, http, stack)
        assert told == version
    for version in ("2", "3", "4"):
        shutil.rmtree(versions.root / "iris" / version)
    restart(stack)

    async with Load(stack.url(), [request(INFER, question(*ROWS))], honest, callers=8) as callers:
        for version, model in (("2", "iris_rf"), ("3", "iris_mlp"), ("4", "iris")):
            await callers.answered(callers.tally.answered + 100)
            versions.put(version, model)
            assert (await wait(load, http, stack)).json() == {"name": "iris", "version": version, "state": "READY"}
            await callers.answered(callers.tally.answered + 100)
    tally = callers.tally
    assert (tally.lost, tally.wrong) == ([], [])
    assert tally.sent == tally.answered == tally.statuses[200]
    assert honest.seen == {"1", "2", "3", "4"}


async def wait(call: Callable[..., Any], *arguments: Any) -> Any:
    """A blocking call, off the event loop that makes the load."""
    import asyncio

    return await asyncio.to_thread(call, *arguments)


def restart(stack: Stack) -> None:
    stack.stop("api")
    stack.start("api")


def truncated(versions: Versions) -> None:
    model = versions.put("2", "iris_rf") / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1000])


def half_copied(versions: Versions) -> None:
    (versions.put("2", "iris_rf") / "model.onnx").unlink()


def without_manifest(versions: Versions) -> None:
    (versions.put("2", "iris_rf") / "model.yaml").unlink()


def of_another_shape(versions: Versions) -> None:
    def widen(manifest: Manifest) -> None:
        manifest["inputs"][0]["shape"] = [-1, 5]

    versions.put("2", "iris_rf", widen)


def of_another_output(versions: Versions) -> None:
    def rename(manifest: Manifest) -> None:
        manifest["outputs"][0]["name"] = "scores"

    versions.put("2", "iris_rf", rename)


def of_another_name(versions: Versions) -> None:
    versions.put("2", "iris_rf", lambda manifest: manifest.update(name="tulips"))


def not_onnx(versions: Versions) -> None:
    import hashlib

    text = b"this is no model"
    folder = versions.put("2", "iris_rf", lambda manifest: manifest.update(sha256=hashlib.sha256(text).hexdigest()))
    (folder / "model.onnx").write_bytes(text)


def not_yaml(versions: Versions) -> None:
    (versions.put("2", "iris_rf") / "model.yaml").write_text("name: [")


BROKEN = {
    truncated: "sha256",
    half_copied: "No such file",
    without_manifest: "No such file",
    of_another_shape: "[-1, 5]",
    of_another_output: "'scores'",
    of_another_name: "'tulips'",
    not_onnx: "ONNX Runtime cannot open it",
    not_yaml: "is not YAML",
}


async def test_a_version_that_cannot_serve_leaves_the_old_one_answering_and_says_so(
    http: httpx.Client, stack: Stack, versions: Versions
) -> None:
    honest = Honest()
    _, honest.known["1"] = await wait(answer, http, stack)
    async with Load(stack.url(), [request(INFER, question(*ROWS))], honest, callers=4) as callers:
        for spoil, reason in BROKEN.items():
            spoil(versions)
            refused = await wait(load, http, stack)
            assert refused.status_code == 503, spoil
            assert reason in refused.json()["error"]
            (index,) = (await wait(http.post, f"{stack.url()}/v2/repository/index")).json()
            assert (index["version"], index["state"]) == ("1", "READY")
            assert reason in index["reason"]
            shutil.rmtree(versions.root / "iris" / "2")
        await callers.answered(callers.tally.answered + 100)
        versions.put("2", "iris")  # and a good one is taken after all those
        honest.known["2"] = honest.known["1"]
        assert (await wait(load, http, stack)).json()["version"] == "2"
        await callers.answered(callers.tally.answered + 100)
    tally = callers.tally
    assert (tally.lost, tally.wrong) == ([], [])
    assert tally.sent == tally.answered == tally.statuses[200]
    told = log_lines(stack, event="model not loaded")
    assert [line["still_serving"] for line in told] == ["1"] * len(BROKEN)
    assert all(reason in line["reason"] for reason, line in zip(BROKEN.values(), told, strict=True))


@pytest.mark.parametrize("spoil", BROKEN, ids=lambda spoil: spoil.__name__)
def test_a_model_that_cannot_serve_at_the_start_leaves_the_service_unready_with_the_reason(
    http: httpx.Client, stack: Stack, versions: Versions, spoil: Callable[[Versions], None]
) -> None:
    stack.stop("api")
    shutil.rmtree(versions.root / "iris")
    spoil(versions)
    stack.start("api", wait=False)
    readiness = eventually(lambda: unready(stack), 20, "the service answers, unready")
    assert BROKEN[spoil] in readiness
    assert http.get(f"{stack.url()}/livez").status_code == 200  # a restart would mend nothing
    assert http.post(stack.url() + INFER, json=question(SETOSA)).status_code == 503
    (line,) = log_lines(stack, event="model not loaded")
    assert line["level"] == "error"
    assert BROKEN[spoil] in line["reason"]

    shutil.rmtree(versions.root / "iris")
    versions.put("2", "iris")
    eventually(lambda: not unready(stack), 20, "the service is ready once the model is whole")
    assert answer(http, stack)[0] == "2"


def unready(stack: Stack) -> str:
    """Why GET /readyz says 503, once the load has been tried; empty when it does not say so."""
    try:
        answer = httpx.get(f"{stack.url()}/readyz", timeout=5)
    except httpx.TransportError:
        return ""
    reasons = "" if answer.status_code == 200 else "; ".join(answer.json()["reasons"])
    return "" if reasons.endswith(("loading", "not loaded yet")) else reasons


def test_several_versions_answer_side_by_side_where_a_setting_keeps_them(http: httpx.Client, versions: Versions) -> None:
    raise NotImplementedError
