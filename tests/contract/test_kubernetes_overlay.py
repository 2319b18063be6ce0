"""What `make up RUNTIME=kubernetes` adds to a pattern's manifests: settings, credentials in a Secret, and replicas."""

from __future__ import annotations

from pathlib import Path

from runtimes import overlay
from tests.contract.manifests import KUBERNETES, Manifests, render

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "GOOGLE_SERVICE_ACCOUNT_KEY": "{}"}


def added(
    folder: Path, pattern: str, environment: dict[str, dict[str, str]], replicas: dict[str, int] | None = None
) -> Manifests:
    manifests = KUBERNETES / "patterns" / pattern
    overlay.write(folder, manifests, render(manifests).objects, "here", environment, {}, replicas)
    return render(folder)


def test_credentials_are_in_a_secret_that_every_service_reads(tmp_path: Path) -> None:
    settings = {"MODEL_URI": "s3://models/iris/1", "LOG_LEVEL": "debug"}
    manifests = added(tmp_path, "web_single", {"api": {**settings, **CREDENTIALS}})
    (secret,) = manifests.of("Secret")
    assert (secret["metadata"], secret["stringData"]) == ({"name": "model-store", "namespace": "here"}, CREDENTIALS)
    app = manifests.workloads["api"].app
    assert app["envFrom"] == [{"secretRef": {"name": "model-store", "optional": True}}]
    given = {one["name"]: one.get("value") for one in app["env"]}
    assert settings.items() <= given.items()
    assert not CREDENTIALS.keys() & given.keys()
    assert "allow-to-model-store" in [one["metadata"]["name"] for one in manifests.of("NetworkPolicy")]


def test_without_credentials_there_is_no_secret(tmp_path: Path) -> None:
    manifests = added(tmp_path, "web_single", {"api": {"MODEL_URI": "https://store.example/iris/1"}})
    assert manifests.of("Secret") == []
    assert "allow-to-model-store" in [one["metadata"]["name"] for one in manifests.of("NetworkPolicy")]


def test_replicas_follow_scale_and_each_is_reached_by_itself(tmp_path: Path) -> None:
    manifests = added(tmp_path, "prep_pred", {}, {"predictor": 2})
    replicas = {name: pods.tree["spec"].get("replicas", 1) for name, pods in manifests.workloads.items()}
    assert replicas == {"predictor": 2, "prep": 1}
    direct = {name for name in manifests.services if name.startswith("direct-")}
    assert direct == {"direct-predictor-1", "direct-predictor-2", "direct-prep"}
