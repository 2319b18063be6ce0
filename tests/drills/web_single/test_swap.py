"""A new version is loaded beside the old one under load; one that cannot serve leaves the old one, and says why.

On local processes alone: the tests write versions into the service's repository, and a container has no folder of this
machine.
"""

from __future__ import annotations

import asyncio
import hashlib
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
from tests.support import INFER, SETOSA, VIRGINICA, built, eventually, log_lines, question

pytestmark = pytest.mark.runs_on("local")

MODELS = ("iris", "iris_rf", "iris_mlp")
ROWS = [SETOSA, VIRGINICA]
Manifest = dict[str, Any]


class Versions:
    """The folder that a service serves iris from; its versions are other models under that name."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, version: str, model: str, change: Callable[[Manifest], object] = lambda _: None) -> Path:
        folder = self.root / "iris" / version
        shutil.copytree(built(model, *MODELS), folder)
        manifest = yaml.safe_load((folder / "model.yaml").read_text()) | {"name": "iris", "version": version}
        change(manifest)
        (folder / "model.yaml").write_text(yaml.safe_dump(manifest))
        return folder

    def remove(self, version: str = "") -> None:
        """One version, or all of them."""
        shutil.rmtree(self.root / "iris" / version)


@pytest.fixture(scope="module")
def expected(start_local: Start) -> dict[str, list[float]]:
    """What each model answers for ROWS, from a service that serves all of them."""
    stack = start_local("web_single", MODEL=",".join(MODELS))
    return {model: probabilities(stack, f"/v2/models/{model}/infer")[1] for model in MODELS}


@pytest.fixture
def versions(service: tuple[Stack, Versions]) -> Versions:
    return service[1]


@pytest.fixture(scope="module")
def service(
    start_local: Start, expected: dict[str, list[float]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Stack, Versions]:
    versions = Versions(tmp_path_factory.mktemp("models"))
    versions.put("1", "iris")
    return start_local("web_single", MODEL_CONTROL="true", MODEL_REPOSITORY=str(versions.root)), versions


@pytest.fixture
def stack(service: tuple[Stack, Versions]) -> Stack:
    """Serves version 1 alone."""
    stack, versions = service
    stack.kill("api")
    versions.remove()
    versions.put("1", "iris")
    stack.start("api")
    return stack


def load(stack: Stack) -> httpx.Response:
    return httpx.post(f"{stack.url()}/v2/repository/models/iris/load", timeout=20)


def probabilities(stack: Stack, path: str = INFER) -> tuple[str, list[float]]:
    """The version that answers for ROWS, and what."""
    told = httpx.post(stack.url() + path, json=question(*ROWS), timeout=10).json()
    return told["model_version"], told["outputs"][0]["data"]


class Honest:
    """Whether an answer is what the version that it names would say."""

    def __init__(self, known: dict[str, list[float]]) -> None:
        self.known = known
        self.seen: set[str] = set()

    def __call__(self, body: bytes) -> bool:
        told = json.loads(body)
        version = told.get("model_version", "")
        self.seen.add(version)
        return version in self.known and told["outputs"][0]["data"] == pytest.approx(self.known[version], abs=1e-5)


def assert_unharmed(load: Load) -> None:
    tally = load.tally
    assert (tally.lost, tally.wrong) == ([], [])
    assert tally.sent == tally.answered == tally.statuses[200]


async def test_versions_are_swapped_under_load_and_no_answer_mixes_them(
    stack: Stack, versions: Versions, expected: dict[str, list[float]]
) -> None:
    held = {"1": "iris", "2": "iris_rf", "3": "iris_mlp", "4": "iris"}
    honest = Honest({version: expected[model] for version, model in held.items()})
    async with Load(stack.url(), [request(INFER, question(*ROWS))], honest, callers=8) as callers:
        for version in ("2", "3", "4"):
            await callers.answered(callers.tally.answered + 100)
            versions.put(version, held[version])
            told = (await asyncio.to_thread(load, stack)).json()
            assert told == {"name": "iris", "version": version, "state": "READY"}
            await callers.answered(callers.tally.answered + 100)
    assert_unharmed(callers)
    assert honest.seen == set(held)


def truncated(versions: Versions) -> None:
    model = versions.put("2", "iris_rf") / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1000])


def half_copied(versions: Versions) -> None:
    (versions.put("2", "iris_rf") / "model.onnx").unlink()


def without_manifest(versions: Versions) -> None:
    (versions.put("2", "iris_rf") / "model.yaml").unlink()


def of_another_shape(versions: Versions) -> None:
    versions.put("2", "iris_rf", lambda manifest: manifest["inputs"][0].update(shape=[-1, 5]))


def of_another_datatype(versions: Versions) -> None:
    versions.put("2", "iris_rf", lambda manifest: manifest["inputs"][0].update(datatype="FP64"))


def of_another_output(versions: Versions) -> None:
    versions.put("2", "iris_rf", lambda manifest: manifest["outputs"][0].update(name="scores"))


def of_another_name(versions: Versions) -> None:
    versions.put("2", "iris_rf", lambda manifest: manifest.update(name="tulips"))


def not_onnx(versions: Versions) -> None:
    text = b"this is no model"
    folder = versions.put("2", "iris_rf", lambda manifest: manifest.update(sha256=hashlib.sha256(text).hexdigest()))
    (folder / "model.onnx").write_bytes(text)


def not_yaml(versions: Versions) -> None:
    (versions.put("2", "iris_rf") / "model.yaml").write_text("name: [")


BROKEN: dict[Callable[[Versions], None], str] = {
    truncated: "sha256",
    half_copied: "No such file",
    without_manifest: "No such file",
    of_another_shape: "[-1, 5]",
    of_another_datatype: "FP64",
    of_another_output: "'scores'",
    of_another_name: "'tulips'",
    not_onnx: "ONNX Runtime cannot open it",
    not_yaml: "is not valid YAML",
}


async def test_a_version_that_cannot_serve_leaves_the_old_one_answering_and_says_so(
    stack: Stack, versions: Versions, expected: dict[str, list[float]]
) -> None:
    said_before = len(log_lines(stack, event="model not loaded"))
    honest = Honest({"1": expected["iris"], "2": expected["iris_rf"]})
    async with Load(stack.url(), [request(INFER, question(*ROWS))], honest, callers=4) as callers:
        for spoil, reason in BROKEN.items():
            spoil(versions)
            refused = await asyncio.to_thread(load, stack)
            assert refused.status_code == 503
            assert reason in refused.json()["error"]
            listed = await asyncio.to_thread(httpx.post, f"{stack.url()}/v2/repository/index")
            (version,) = listed.json()
            assert (version["version"], version["state"]) == ("1", "READY")
            assert reason in version["reason"]
            versions.remove("2")
        assert honest.seen == {"1"}
        versions.put("2", "iris_rf")
        assert (await asyncio.to_thread(load, stack)).json()["version"] == "2"
        await callers.answered(callers.tally.answered + 50)
    assert_unharmed(callers)
    told = log_lines(stack, event="model not loaded")[said_before:]
    assert [line["still_serving"] for line in told] == ["1"] * len(BROKEN)
    assert all(reason in line["reason"] for reason, line in zip(BROKEN.values(), told, strict=True))


def unready(stack: Stack) -> str:
    """Why GET /readyz says 503 once a load has been tried; empty when it does not say so."""
    try:
        answer = httpx.get(f"{stack.url()}/readyz", timeout=5)
    except httpx.TransportError:
        return ""
    reasons = "" if answer.status_code == 200 else "; ".join(answer.json()["reasons"])
    return "" if reasons.endswith(("loading", "not loaded yet")) else reasons


# one of each kind: what the manifest refuses, what the file's checksum does, and what the model itself does
AT_START = [without_manifest, truncated, of_another_shape]


@pytest.mark.parametrize("spoil", AT_START, ids=lambda spoil: spoil.__name__)
def test_a_model_that_cannot_serve_at_the_start_leaves_the_service_unready_and_alive(
    http: httpx.Client, service: tuple[Stack, Versions], spoil: Callable[[Versions], None]
) -> None:
    stack, versions = service
    stack.kill("api")
    versions.remove()
    spoil(versions)
    said_before = len(log_lines(stack, event="model not loaded"))
    stack.start("api", wait=False)
    assert BROKEN[spoil] in eventually(lambda: unready(stack), 20, "the service answers, unready")
    assert http.get(f"{stack.url()}/livez").status_code == 200  # a restart would mend nothing
    assert http.post(stack.url() + INFER, json=question(SETOSA)).status_code == 503
    (line,) = log_lines(stack, event="model not loaded")[said_before:]
    assert line["level"] == "error"
    assert BROKEN[spoil] in line["reason"]


def test_a_model_that_arrives_late_is_loaded_without_a_restart(service: tuple[Stack, Versions]) -> None:
    stack, versions = service
    stack.kill("api")
    versions.remove()
    stack.start("api", wait=False)
    assert "there is no folder with a version" in eventually(lambda: unready(stack), 20, "the service answers, unready")
    versions.put("7", "iris")
    eventually(lambda: httpx.get(f"{stack.url()}/readyz").status_code == 200, 20, "the service is ready")
    assert probabilities(stack)[0] == "7"


def test_versions_answer_side_by_side_where_a_setting_keeps_them(
    start_local: Start, expected: dict[str, list[float]], tmp_path: Path
) -> None:
    versions = Versions(tmp_path)
    for version, model in (("1", "iris_mlp"), ("2", "iris_rf"), ("3", "iris")):
        versions.put(version, model)
    stack = start_local("web_single", MODEL_REPOSITORY=str(tmp_path), MODEL_VERSIONS_KEPT="2")
    newest, answered = probabilities(stack)
    assert newest == "3"
    assert answered == pytest.approx(expected["iris"], abs=1e-5)
    assert probabilities(stack, "/v2/models/iris/versions/2/infer")[1] == pytest.approx(expected["iris_rf"], abs=1e-5)
    assert httpx.get(f"{stack.url()}/v2/models/iris").json()["versions"] == ["2", "3"]
    assert httpx.get(f"{stack.url()}/v2/models/iris/versions/1").status_code == 404


async def test_a_model_that_is_unloaded_answers_what_it_had_accepted(
    stack: Stack, expected: dict[str, list[float]]
) -> None:
    honest = Honest({"1": expected["iris"]})
    async with Load(stack.url(), [request(INFER, question(*ROWS))], lambda _: True, callers=8) as callers:
        await callers.answered(100)
        url = f"{stack.url()}/v2/repository/models/iris/unload"
        assert (await asyncio.to_thread(httpx.post, url)).json() == {"name": "iris", "state": "UNLOADED"}
        await callers.answered(callers.tally.answered + 50)
        assert (await asyncio.to_thread(load, stack)).status_code == 200
        await callers.answered(callers.tally.answered + 50)
    assert callers.tally.lost == []
    assert callers.tally.statuses.keys() == {200, 503}
    body = await asyncio.to_thread(httpx.post, stack.url() + INFER, json=question(*ROWS))
    assert honest(body.content)
