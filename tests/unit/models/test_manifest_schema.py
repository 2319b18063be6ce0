"""manifest.problems names everything that is missing or wrong in a model.yaml."""

from pathlib import Path
from typing import Any

import pytest

from models import manifest
from tests.unit.models import toy_models


@pytest.fixture
def complete(tmp_path: Path) -> manifest.Manifest:
    toy_models.write(tmp_path / "recipes")
    toy_models.build(tmp_path / "recipes", tmp_path / "build")
    return manifest.read(tmp_path / "build" / "toy" / "1" / "model.yaml")


def test_a_built_manifest_has_no_problems(complete: manifest.Manifest) -> None:
    assert manifest.problems(complete) == []
    assert "build" not in complete


@pytest.mark.parametrize("key", manifest.REQUIRED)
def test_a_missing_required_key_is_reported(complete: manifest.Manifest, key: str) -> None:
    del complete[key]
    assert manifest.problems(complete) == [f"model.yaml has no {key}"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"task": "poetry"}, "task is 'poetry', expected one of"),
        ({"version": 1}, "version is 1, expected an integer in quotes"),
        ({"unit": ""}, "model.yaml has no unit, which a regression model needs"),
        ({"task": "classification", "labels": ["a"]}, "1 labels, expected one for each of the 2 classes"),
        ({"examples": [{"features": [1, 2], "answer": 1}]}, "1 examples, expected at least 3"),
        ({"examples": [{"features": [1, 2]}] * 3}, "example 0 has no answer"),
        ({"examples": [{"answer": 1}] * 3}, "example 0 has no features or item"),
        ({"task": "image-classification"}, "example 0 has no photo"),
        ({"licence": {"code": "Apache-2.0", "weights": "none"}}, "model.yaml has no licence.data"),
        ({"colour": "red"}, "unknown key 'colour', expected one of name,"),
    ],
)
def test_a_wrong_value_is_reported(complete: manifest.Manifest, change: dict[str, Any], problem: str) -> None:
    found = manifest.problems(complete | change)
    assert any(it.startswith(problem) for it in found), found


def test_changed_preprocessing_does_not_match_its_fingerprint(complete: manifest.Manifest) -> None:
    complete["preprocessing"]["steps"] = [{"cast": "FP64"}]
    (problem,) = manifest.problems(complete)
    assert problem.startswith("the fingerprint does not match the preprocessing steps, expected sha256:")


def test_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert manifest.fingerprint([{"a": 1, "b": 2}]) == manifest.fingerprint([{"b": 2, "a": 1}])
