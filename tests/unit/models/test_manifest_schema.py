"""A manifest that lacks something is told what."""

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
def test_each_required_key_is_missed(complete: manifest.Manifest, key: str) -> None:
    del complete[key]
    assert manifest.problems(complete) == [f"no {key}"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"task": "poetry"}, "task 'poetry' is none of"),
        ({"version": 1}, "version is not an integer in quotes"),
        ({"unit": ""}, "a regressor names the unit"),
        ({"task": "classification", "labels": ["a"]}, "1 labels for 2 classes"),
        ({"examples": [{"features": [1, 2], "answer": 1}]}, "fewer than 3 examples"),
        ({"examples": [{"features": [1, 2]}] * 3}, "example 0 has no answer"),
        ({"examples": [{"answer": 1}] * 3}, "example 0 has no features and no item"),
        ({"task": "image-classification"}, "example 0 has no photo"),
        ({"licence": {"code": "Apache-2.0", "weights": "none"}}, "no licence.data"),
        ({"colour": "red"}, "unknown key colour"),
    ],
)
def test_a_wrong_value_is_named(complete: manifest.Manifest, change: dict[str, Any], problem: str) -> None:
    found = manifest.problems(complete | change)
    assert any(it.startswith(problem) for it in found), found


def test_changed_preprocessing_no_longer_fits_its_fingerprint(complete: manifest.Manifest) -> None:
    complete["preprocessing"]["steps"] = [{"cast": "FP64"}]
    assert manifest.problems(complete) == ["the fingerprint is not that of the preprocessing steps"]


def test_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert manifest.fingerprint([{"a": 1, "b": 2}]) == manifest.fingerprint([{"b": 2, "a": 1}])
