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


def test_a_model_that_is_nowhere_is_refused_with_the_recipes_and_the_built_models() -> None:
    with pytest.raises(StackError, match=r"the recipes, and the models in models/build, are: .*iris"):
        own_models.find("Churn 5")


@pytest.mark.parametrize(
    ("model", "tag", "name"),
    [("Iris_RF", "", "serving-patterns/iris_rf:1"), ("churn", "local:5000/a/churn:2.b", "local:5000/a/churn:2.b"),
     ("churn-", "", ""), ("churn", "team/Churn:1", ""), ("churn", "my churn", ""), ("churn", "churn:", "")],
)  # fmt: skip
def test_the_name_of_an_image_is_checked_before_it_is_built(model: str, tag: str, name: str) -> None:
    given = own_models.Model(model, [Path("models/1")])
    if name:
        assert own_models.image_name(given, tag) == name
    else:
        with pytest.raises(StackError, match=r"is no name of an image; expected .* such as TAG=team/mine:1"):
            own_models.image_name(given, tag)
