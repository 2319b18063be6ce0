"""Turns named values (numbers and categories, some of them missing) into a row of numbers.

There are five steps, in this order. Only `order` is required. Their parameters come from training:

    impute: {body_mass_g: 4050.0}                                       the value for a missing number
    one_hot: {sex: {categories: [female, male, unknown], missing_as: unknown, unknown_as: unknown}}
                                                                        makes columns `sex=female`, `sex=male`, ...
    standardise: {body_mass_g: {mean: 4201.8, scale: 799.6}}            (number - mean) / scale
    min_max: {bill_length_mm: {minimum: 32.1, maximum: 59.6}}           (number - minimum) / (maximum - minimum)
    order: ["sex=female", "sex=male", "sex=unknown", body_mass_g]       the columns of the row

A value is missing when its name is absent or it is null. A missing number without a rule in `impute`, or a category
that is not listed, is an error that names the field. A number has at most one kind of scaling. As scikit-learn's
MinMaxScaler does by default, `min_max` does not clip: a number outside the range of training becomes less than 0 or
more than 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from common.errors import FieldError, InvalidInput
from common.preprocessing.fields import wrong_fields
from common.protocol.choices import convert

GREATEST = float(np.finfo(np.float32).max)
STEPS = ("impute", "one_hot", "standardise", "min_max", "order")

_QUOTED = 40


class OneHot(msgspec.Struct, forbid_unknown_fields=True):
    """The values that a category may have, and those that replace a missing or an unknown value; None refuses it."""

    categories: Annotated[list[str], msgspec.Meta(min_length=1)]
    missing_as: str | None = None
    unknown_as: str | None = None


class Scaling(msgspec.Struct, forbid_unknown_fields=True):
    """A number becomes (number - mean) / scale."""

    mean: float
    scale: float


class Range(msgspec.Struct, forbid_unknown_fields=True):
    """The least and the greatest value in the training data; they become 0 and 1."""

    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Field:
    """A named value that a caller sends. `categories` are the values that a category may have."""

    name: str
    kind: Literal["number", "category"]
    optional: bool
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Number:
    """Writes (number - mean) / scale into its column of the row."""

    name: str
    place: int
    default: float | None
    mean: float
    scale: float

    def fill(self, row: list[float], value: object) -> str | None:
        """Writes the value into the row. Returns what is wrong with it, or None."""
        if value is None:
            value = self.default
            if value is None:
                return "is missing"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"expected a number, got {str(value)[:_QUOTED]!r}"
        try:
            scaled = (value - self.mean) / self.scale
        except OverflowError:
            scaled = GREATEST * 2
        if not -GREATEST <= scaled <= GREATEST:
            return "is not finite, or outside the range of FP32"
        row[self.place] = scaled
        return None

    def field(self) -> Field:
        return Field(self.name, "number", self.default is not None)


@dataclass(frozen=True, slots=True)
class _Category:
    """Writes a 1 into the column of the value. `places` has None for a value whose column the model does not use."""

    name: str
    places: Mapping[str, int | None]
    rule: OneHot

    def fill(self, row: list[float], value: object) -> str | None:
        if value is None:
            value = self.rule.missing_as
            if value is None:
                return "is missing"
        if not isinstance(value, str):
            return f"expected a string, got {str(value)[:_QUOTED]!r}"
        if value not in self.places:
            if self.rule.unknown_as is None:
                return f"expected one of {', '.join(self.places)}, got {value[:_QUOTED]!r}"
            value = self.rule.unknown_as
        place = self.places[value]
        if place is not None:
            row[place] = 1.0
        return None

    def field(self) -> Field:
        return Field(self.name, "category", self.rule.missing_as is not None, tuple(self.rule.categories))


class Table:
    """The compiled steps: turns a mapping of names to values into a row."""

    def __init__(self, columns: Sequence[_Number | _Category], width: int) -> None:
        self._columns, self._width = columns, width
        self._names = {column.name for column in columns}
        self.fields = tuple(column.field() for column in columns)

    def __call__(self, item: Any) -> list[float]:
        if not isinstance(item, Mapping):
            raise InvalidInput.at("values", f"expected an object of named values, got {type(item).__name__}")
        row = [0.0] * self._width
        wrong = [
            FieldError(column.name, reason)
            for column in self._columns
            if (reason := column.fill(row, item.get(column.name))) is not None
        ]
        if not item.keys() <= self._names:
            known = ", ".join(field.name for field in self.fields)
            unknown = sorted(str(name)[:60] for name in item.keys() - self._names)
            wrong += [FieldError(name, f"is not a field of this model; the fields are: {known}") for name in unknown]
        if wrong:
            raise wrong_fields(wrong)
        return row


def compiled(steps: Sequence[tuple[str, Any]]) -> list[Callable[[Any], Any]]:
    """One function for all these steps. Raises ValueError or msgspec.ValidationError for steps that are not valid."""
    names = [name for name, _ in steps]
    if names != [name for name in STEPS if name in names] or names[-1:] != ["order"]:
        raise ValueError(
            f"expected the steps {', '.join(STEPS)}, in this order, each at most once and the last always; "
            f"got {', '.join(names)}"
        )
    given = dict(steps)
    defaults = convert(given.get("impute", {}), dict[str, float])
    encoded = convert(given.get("one_hot", {}), dict[str, OneHot])
    scalings = _scalings(given)
    order = convert(given["order"], list[str])
    places = {name: place for place, name in enumerate(order)}
    categories = [_category(name, rule, places) for name, rule in encoded.items()]
    hot = {f"{one.name}={value}" for one in categories for value in one.places}
    numbers = [name for name in order if name not in hot]
    _check_names(order, numbers, {*defaults, *scalings}, encoded)
    columns = [_number(name, places[name], defaults.get(name), scalings.get(name)) for name in numbers]
    return [Table([*categories, *columns], len(order))]


def _scalings(given: Mapping[str, Any]) -> dict[str, Scaling]:
    """The scaling of each number that has one, from `standardise` or from `min_max`."""
    found = convert(given.get("standardise", {}), dict[str, Scaling])
    for name, span in convert(given.get("min_max", {}), dict[str, Range]).items():
        if name in found:
            raise ValueError(f"{name}: expected one scaling, got standardise and min_max")
        if not span.maximum > span.minimum:
            raise ValueError(f"{name}: expected a maximum above the minimum {span.minimum}, got {span.maximum}")
        found[name] = Scaling(span.minimum, span.maximum - span.minimum)
    return found


def _category(name: str, rule: OneHot, places: Mapping[str, int]) -> _Category:
    for replacement in (rule.missing_as, rule.unknown_as):
        if replacement is not None and replacement not in rule.categories:
            raise ValueError(f"{name}: {replacement!r} is not one of its categories {', '.join(rule.categories)}")
    return _Category(name, {value: places.get(f"{name}={value}") for value in rule.categories}, rule)


def _number(name: str, place: int, default: float | None, scaling: Scaling | None) -> _Number:
    if scaling is not None and not scaling.scale > 0:
        raise ValueError(f"{name}: expected a scale above 0, got {scaling.scale}")
    return _Number(name, place, default, scaling.mean if scaling else 0.0, scaling.scale if scaling else 1.0)


def _check_names(order: list[str], numbers: list[str], parametrised: set[str], encoded: Mapping[str, OneHot]) -> None:
    if len(set(order)) != len(order):
        raise ValueError("order: a column is named twice")
    unused = sorted(parametrised - set(numbers))
    both = sorted(set(numbers) & encoded.keys())
    if unused:
        raise ValueError(f"{', '.join(unused)}: has parameters, but `order` does not name a number like this")
    if both:
        raise ValueError(f"{', '.join(both)}: is one_hot, so `order` must name its columns, such as {both[0]}=...")
