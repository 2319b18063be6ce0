"""Named values to a row: what is missing, unknown or wrong is handled by the rules of model.yaml, and told by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import MinMaxScaler

from common.errors import InvalidInput
from common.inference.manifest import ModelLoadError
from common.preprocessing.steps import Preparer, preparer
from common.preprocessing.tabular import Field
from tests.unit.common.preprocessing.manifests import manifest

IMPUTE = {"impute": {"mass": 4000.0}}
ONE_HOT = {
    "one_hot": {
        "island": {"categories": ["Biscoe", "Dream", "other"], "unknown_as": "other"},
        "sex": {"categories": ["female", "male", "unknown"], "missing_as": "unknown"},
    }
}
STANDARDISE = {"standardise": {"mass": {"mean": 4200.0, "scale": 800.0}}}
MIN_MAX = {"min_max": {"mass": {"minimum": 2700.0, "maximum": 6300.0}}}
ORDER = {"order": ["island=Biscoe", "island=Dream", "island=other", "mass", "sex=female", "sex=unknown", "length"]}
STEPS = [IMPUTE, ONE_HOT, STANDARDISE, ORDER, {"cast": "FP32"}]
PENGUIN = {"island": "Dream", "sex": "female", "mass": 5000, "length": 40.5}


def ready(steps: list[Any] = STEPS) -> Preparer:
    return preparer(manifest(steps, [-1, 7], "row"))


def row(**changed: Any) -> list[float]:
    array = ready().prepare(PENGUIN | changed)["row"]
    assert array.dtype == np.float32
    assert array.shape == (1, 7)
    values: list[float] = array[0].tolist()
    return values


def refusal(item: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as caught:
        ready().prepare(item)
    return {one.field: one.reason for one in caught.value.fields}


def test_columns_come_in_their_order() -> None:
    assert row() == [0, 1, 0, 1, 1, 0, 40.5]


def test_a_range_becomes_0_to_1_as_scikit_learn_scales_it() -> None:
    steps = preparer(manifest([IMPUTE, MIN_MAX, {"order": ["mass"]}, {"cast": "FP32"}], [-1, 1], "row"))
    masses = np.array([[2700.0], [4500.0], [6300.0], [7000.0], [np.nan]])
    trained = np.where(np.isnan(masses), IMPUTE["impute"]["mass"], masses)
    expected = MinMaxScaler().fit([[2700.0], [6300.0]]).transform(trained)
    items = [{"mass": None if np.isnan(mass) else mass} for mass in masses[:, 0]]
    assert steps.prepare_many(items)["row"] == pytest.approx(expected, abs=1e-6)


def test_a_missing_number_takes_the_one_of_training() -> None:
    assert row(mass=None) == [0, 1, 0, -0.25, 1, 0, 40.5]


def test_an_absent_name_is_a_missing_value() -> None:
    item = {name: value for name, value in PENGUIN.items() if name not in ("mass", "sex")}
    assert ready().prepare(item)["row"][0].tolist() == row(mass=None, sex=None)


def test_a_missing_category_has_a_column_of_its_own() -> None:
    assert row(sex=None) == [0, 1, 0, 1, 0, 1, 40.5]


def test_an_unknown_category_counts_as_the_one_stated() -> None:
    assert row(island="Elba") == row(island="other") == [0, 0, 1, 1, 1, 0, 40.5]


def test_a_category_that_the_model_leaves_out_is_zeros() -> None:
    assert row(sex="male") == [0, 1, 0, 1, 0, 0, 40.5]


def test_what_no_rule_allows_is_refused_by_name_and_all_at_once() -> None:
    wrong = {"island": None, "sex": "other", "mass": "heavy", "length": None, "wings": 2}
    assert refusal(wrong) == {
        "island": "is missing",
        "sex": "expected one of female, male, unknown, got 'other'",
        "mass": "expected a number, got 'heavy'",
        "length": "is missing",
        "wings": "is not a field of this model; the fields are: island, sex, mass, length",
    }


@pytest.mark.parametrize("value", [True, "1", [1], {}, "x" * 1000])
def test_what_is_no_number_is_refused_briefly(value: Any) -> None:
    reason = refusal(PENGUIN | {"length": value})["length"]
    assert reason.startswith("expected a number")
    assert len(reason) < 100


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e43, 10**400, -(10**400)])
@pytest.mark.parametrize("name", ["mass", "length"])
def test_a_number_that_the_model_cannot_hold_is_refused(name: str, value: float) -> None:
    assert refusal(PENGUIN | {name: value}) == {name: "is not finite, or outside the range of FP32"}


@pytest.mark.parametrize("value", [1, False, ["Dream"]])
def test_what_is_no_category_is_refused(value: Any) -> None:
    assert refusal(PENGUIN | {"island": value})["island"].startswith("expected a string")


@pytest.mark.parametrize("item", [[], "Dream", None, 3, b""])
def test_what_has_no_names_is_refused(item: Any) -> None:
    assert refusal(item)["values"].startswith("expected an object of named values")


def test_of_many_rows_each_wrong_value_is_named_with_its_row() -> None:
    with pytest.raises(InvalidInput) as caught:
        ready().prepare_many([PENGUIN, PENGUIN | {"length": None}, PENGUIN | {"island": 3}])
    assert [one.field for one in caught.value.fields] == ["instances[1].length", "instances[2].island"]


def test_of_very_many_wrong_values_the_first_twenty_are_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        ready().prepare_many([{"wings": 2}] * 1000)
    assert len(caught.value.fields) == 20
    with pytest.raises(InvalidInput) as caught:
        ready().prepare({f"wing{number}": 2 for number in range(1000)})
    assert len(caught.value.fields) == 20


def test_many_rows_are_prepared_as_single_ones() -> None:
    rows = [PENGUIN, PENGUIN | {"mass": None}, PENGUIN | {"island": "Elba"}]
    together = ready().prepare_many(rows)["row"]
    assert (together == np.concatenate([ready().prepare(one)["row"] for one in rows])).all()


def test_fields_say_what_a_caller_names() -> None:
    assert ready().kind == "values"
    assert ready().fields == (
        Field("island", "category", False, ("Biscoe", "Dream", "other")),
        Field("sex", "category", True, ("female", "male", "unknown")),
        Field("mass", "number", True),
        Field("length", "number", False),
    )


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([IMPUTE, ONE_HOT, STANDARDISE], "expected the steps impute, one_hot, standardise, min_max, order"),
        ([STANDARDISE, IMPUTE, ONE_HOT, ORDER], "expected the steps"),
        ([IMPUTE, IMPUTE, ONE_HOT, ORDER], "expected the steps"),
        ([{"impute": {"mas": 1.0}}, ONE_HOT, ORDER], "mas: has parameters, but `order` does not name"),
        ([{"impute": {"mass": "low"}}, ONE_HOT, ORDER], r"Expected `float`, got `str` - at `\$\[...\]`"),
        ([{"impute": {"island": 1.0}}, ONE_HOT, ORDER], "island: has parameters, but"),
        ([{"standardise": {"mass": {"mean": 1.0, "scale": 0.0}}}, ORDER], "mass: expected a scale above 0, got 0.0"),
        ([{"standardise": {"mass": {"mean": 1.0}}}, ORDER], "missing required field `scale`"),
        ([{"min_max": {"mass": {"minimum": 1.0, "maximum": 1.0}}}, ORDER], "expected a maximum above the minimum 1.0"),
        ([STANDARDISE, MIN_MAX, ORDER], "mass: expected one scaling, got standardise and min_max"),
        ([{"min_max": {"mas": {"minimum": 0.0, "maximum": 1.0}}}, ORDER], "mas: has parameters, but"),
        ([{"one_hot": {"sex": {"categories": []}}}, ORDER], "Expected `array` of length >= 1"),
        (
            [{"one_hot": {"sex": {"categories": ["a"], "missing_as": "b"}}}, ORDER],
            "sex: 'b' is not one of its categories a",
        ),
        ([ONE_HOT, {"order": ["mass", "mass"]}], "order: a column is named twice"),
        ([ONE_HOT, {"order": ["sex"]}], "sex: is one_hot, so `order` must name its columns, such as sex=..."),
        ([{"order": ["a"]}, {"cast": "INT64"}], "Invalid enum value 'INT64', expected one of FP32, FP64"),
        ([{"cast": "FP32"}], "expected a first preprocessing step that takes an image, values or a text, got cast"),
        ([], "values or a text, got no step"),
    ],
)
def test_wrong_steps_are_found_at_load(steps: list[Any], reason: str) -> None:
    with pytest.raises(ModelLoadError, match=reason):
        ready(steps)
