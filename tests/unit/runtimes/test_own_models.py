"""Images with a model that has no recipe."""

from pathlib import Path

import pytest

from runtimes import StackError, composefile, own_models
from runtimes.base import COMPOSE_DIRECTORY


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """The folder of a model whose file is no ONNX graph."""
    version = tmp_path / "broken" / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(b"no graph")
    (version / "model.yaml").write_text("{name: broken, version: '1'}")
    return version.parent


def test_no_image_is_built_with_a_model_that_no_service_would_load(
    broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = composefile.load(COMPOSE_DIRECTORY, "web_single", None, {}).services["api"]
    monkeypatch.setenv("PATH", "")  # a build would end with: docker is not installed
    with pytest.raises(StackError, match=r"no image was built.* would load the model 'broken': .*model\.yaml"):
        own_models.build_image(service, own_models.find(str(broken)), "serving-patterns/broken:1")
