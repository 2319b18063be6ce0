"""Both sides prepare alike or do not work together: at the start, and when one is swapped under the other.

On local processes alone: the tests write versions into the services' repository, and a container has no folder of this
machine.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from common.inference.manifest import fingerprint
from runtimes.base import Stack
from tests.asking.prep_pred import FINGERPRINT, inferences
from tests.conftest import Start
from tests.drills.prep_pred.halves import ask, unready
from tests.support import built, eventually

pytestmark = pytest.mark.runs_on("local")

LAYOUTS = (None, "proxy")


class Versions:
    """The folder that both sides read penguins from; a version's measurements may be scaled otherwise."""

    def __init__(self, root: Path) -> None:
        self.root = root / "penguins"
        self.newest = 0
        self.fingerprints: list[str] = []

    def put(self, scale: float = 1.0) -> str:
        """The next version, which is version 1 of the built model except for the scale; its name."""
        self.newest += 1
        folder = self.root / str(self.newest)
        shutil.copytree(built("penguins"), folder)
        manifest: dict[str, Any] = yaml.safe_load((folder / "model.yaml").read_text())
        steps = manifest["preprocessing"]["steps"]
        (scalings,) = [step["standardise"] for step in steps if "standardise" in step]
        scalings["body_mass_g"]["scale"] *= scale
        self.fingerprints.append(fingerprint(steps))
        manifest |= {"version": folder.name, "preprocessing": {"steps": steps, "fingerprint": fingerprint(steps)}}
        (folder / "model.yaml").write_text(yaml.safe_dump(manifest))
        return folder.name


@pytest.fixture(scope="module", params=LAYOUTS, ids=lambda layout: layout or "default")
def layout(request: pytest.FixtureRequest) -> str | None:
    found: str | None = request.param
    return found


@pytest.fixture(scope="module")
def made(layout: str | None, start_local: Start, tmp_path_factory: pytest.TempPathFactory) -> tuple[Stack, Versions]:
    root = tmp_path_factory.mktemp("models")
    versions = Versions(root)
    versions.put()
    given = {"MODEL": "penguins", "MODEL_REPOSITORY": str(root), "MODEL_CONTROL": "true"}
    return start_local("prep_pred", layout, **given), versions


@pytest.fixture
def stack(made: tuple[Stack, Versions]) -> Stack:
    return made[0]


@pytest.fixture
def versions(made: tuple[Stack, Versions]) -> Versions:
    return made[1]


def load(stack: Stack) -> None:
    """The newest version, at the predictor; prep stays what it is."""
    answer = httpx.post(f"{stack.url('predictor')}/v2/repository/models/penguins/load", timeout=20)
    assert answer.status_code == 200, answer.text


def restart_prep(stack: Stack) -> None:
    """It then is of the newest version."""
    stack.kill("prep")
    stack.start("prep", wait=False)


def reasons(stack: Stack, layout: str | None) -> str:
    """Why the entry is not ready; empty while it is."""
    try:
        return unready(stack, layout)
    except httpx.TransportError:
        return "it has not opened its port yet"


def works_together(stack: Stack, layout: str | None, version: str) -> None:
    eventually(lambda: not reasons(stack, layout), 15, "both sides are of one release")
    answer, _ = ask(stack)
    assert (answer.status_code, answer.json()["model_version"]) == (200, version)


def test_a_swap_to_a_version_prepared_alike_is_followed_at_once(
    stack: Stack, versions: Versions, layout: str | None
) -> None:
    version = versions.put()
    load(stack)
    answer, _ = ask(stack)
    assert (answer.status_code, answer.json()["model_version"]) == (200, version)
    body = {"inputs": [{"name": "instances", "shape": [1], "datatype": "BYTES", "data": ["{}"]}]}
    told = httpx.post(f"{stack.url()}/v2/models/penguins/infer", json=body, timeout=10).json()
    assert told["model_version"] == version
    assert told["parameters"] == {FINGERPRINT: versions.fingerprints[-1]}
    works_together(stack, layout, version)


def test_a_predictor_swapped_to_other_preprocessing_is_noticed_by_the_next_request(
    stack: Stack, versions: Versions, layout: str | None
) -> None:
    version = versions.put(scale=2.0)
    load(stack)
    ran = inferences(stack)
    refused, _ = ask(stack)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert all(one in refused.json()["detail"] for one in versions.fingerprints[-2:])
    assert inferences(stack) == ran
    reason = eventually(lambda: reasons(stack, layout), 5, "the entry says that it is not ready")
    assert all(one in reason for one in versions.fingerprints[-2:])

    restart_prep(stack)
    works_together(stack, layout, version)


def test_a_prep_that_starts_with_other_preprocessing_leaves_the_entry_unready_and_alive(
    stack: Stack, versions: Versions, layout: str | None
) -> None:
    """The other way round: the entry learns of it by looking, before any request has."""
    version = versions.put(scale=3.0)
    restart_prep(stack)
    eventually(lambda: versions.fingerprints[-1] in reasons(stack, layout), 15, "the entry says why it is not ready")
    assert versions.fingerprints[-2] in reasons(stack, layout)
    assert httpx.get(f"{stack.url()}/livez", timeout=10).status_code == 200  # a restart would mend nothing
    assert ask(stack)[0].status_code == 503

    load(stack)
    works_together(stack, layout, version)


@pytest.mark.parametrize("layout", [None], ids=["default"], indirect=True, scope="module")
def test_a_model_that_prep_lacks_leaves_the_entry_unready_until_it_is_there(
    stack: Stack, versions: Versions, layout: str | None
) -> None:
    hidden = versions.root.rename(versions.root.with_name("hidden"))
    restart_prep(stack)
    eventually(
        lambda: "expected a file such as 1/model.yaml" in reasons(stack, layout), 15, "the entry says what is missing"
    )
    hidden.rename(versions.root)
    works_together(stack, layout, str(versions.newest))
