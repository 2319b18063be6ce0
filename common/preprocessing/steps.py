"""Preprocessing by the steps in a model.yaml. They are compiled once, when the model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from common.errors import FieldError, InvalidInput
from common.inference.manifest import Manifest, ModelLoadError, fingerprint
from common.preprocessing.fields import MAX_REPORTED, wrong_fields
from common.protocol.tensors import DATATYPES, Array, TensorSpec, datatype_of

if TYPE_CHECKING:
    from common.preprocessing.tabular import Field

Step = Callable[[Any], Any]
Kind = Literal["picture", "values", "text"]

# The module of each step. It is imported when a model needs it, because not every image has its libraries.
_MODULES = {
    **dict.fromkeys(("decode", "crop", "resize", "pad", "normalise", "layout"), "pictures"),
    **dict.fromkeys(("impute", "one_hot", "standardise", "min_max", "order"), "tabular"),
    **dict.fromkeys(("clean", "ngrams", "tfidf"), "text"),
    "cast": "casting",
}
_KINDS: dict[str, Kind] = {"pictures": "picture", "tabular": "values", "text": "text"}


def preparer(manifest: Manifest) -> Preparer:
    """Compiles the preprocessing of a model. Several threads may use the result at once.

    Raises ModelLoadError for a step that is unknown or has an invalid parameter, and for a step whose library is not
    installed.
    """
    try:
        named = [_named(step) for step in manifest.preprocessing.steps]
        kind, steps = _compiled(named)
    except (msgspec.ValidationError, ValueError, ImportError) as error:
        raise ModelLoadError(f"model {manifest.name!r}: {error}") from None
    return Preparer(manifest.name, manifest.inputs[0].spec(), kind, steps, fingerprint(manifest.preprocessing.steps))


class Preparer:
    """The preprocessing of one model.

    `kind` states what an item is: "picture" (the bytes of a JPEG or PNG file, or a decoded image), "values" (a mapping
    of named values) or "text". `fields` are the names, kinds and categories of the values; empty for the other kinds.
    """

    def __init__(self, model: str, tensor: TensorSpec, kind: Kind, steps: Sequence[Step], fingerprint: str) -> None:
        self.model, self.tensor, self.kind, self.fingerprint = model, tensor, kind, fingerprint
        self.fields: tuple[Field, ...] = getattr(steps[0], "fields", ())
        self._steps, self._dtype = steps, DATATYPES[tensor.datatype]

    def prepare(self, item: Any) -> dict[str, Array]:
        """The model's input for one item, by tensor name. The array has the shape [1, ...].

        Raises InvalidInput, or a subclass of it, when the item is not valid, and ModelLoadError when the steps do not
        give the datatype and shape that the model expects.
        """
        state = item
        for step in self._steps:
            state = step(state)
        array = np.asarray(state)[None]
        if array.dtype != self._dtype or not _fits(array, self.tensor):
            raise ModelLoadError(
                f"model {self.model!r}: its preprocessing gives {datatype_of(array)} {list(array.shape)}, "
                f"but its input {self.tensor.name!r} expects {self.tensor.datatype} {list(self.tensor.shape)}"
            )
        return {self.tensor.name: array}

    def prepare_many(self, items: Iterable[Any], where: str = "instances") -> dict[str, Array]:
        """The model's input for several items, one row each. InvalidInput names fields as `instances[3].island`.

        It is of the class that all errors have, such as PayloadTooLarge.
        """
        rows: list[Array] = []
        wrong: list[FieldError] = []
        kinds: set[type[InvalidInput]] = set()
        for index, item in enumerate(items):
            try:
                rows.append(self.prepare(item)[self.tensor.name])
            except InvalidInput as error:
                wrong += [FieldError(f"{where}[{index}].{one.field}", one.reason) for one in error.fields]
                kinds.add(type(error))
            if len(wrong) >= MAX_REPORTED:
                break
        if wrong:
            raise wrong_fields(wrong, kinds.pop() if len(kinds) == 1 else InvalidInput)
        if not rows:
            raise InvalidInput.at(where, "is empty; send at least one")
        return {self.tensor.name: np.concatenate(rows)}


def _fits(array: Array, tensor: TensorSpec) -> bool:
    sizes = zip(array.shape[1:], tensor.shape[1:], strict=False)
    return array.ndim == len(tensor.shape) and all(stated in (-1, size) for size, stated in sizes)


def _named(step: Any) -> tuple[str, Any]:
    if not isinstance(step, Mapping) or len(step) != 1:
        raise ValueError(f"expected a preprocessing step as one name with its parameter, got {step!r:.100}")
    ((name, parameter),) = step.items()
    if name not in _MODULES:
        raise ValueError(f"unknown preprocessing step {name!r:.60}; the steps are: {', '.join(_MODULES)}")
    return name, parameter


def _compiled(named: Sequence[tuple[str, Any]]) -> tuple[Kind, list[Step]]:
    """The kind of an item, and one function for each step; each function takes the result of the one before it."""
    modules = [_MODULES[name] for name, _ in named]
    if not modules or modules[0] not in _KINDS:
        first = named[0][0] if named else "no step"
        raise ValueError(f"expected a first preprocessing step that takes an image, values or a text, got {first}")
    steps: list[Step] = []
    for module, group in groupby(named, lambda step: _MODULES[step[0]]):
        steps += import_module(f"common.preprocessing.{module}").compiled(list(group))
    return _KINDS[modules[0]], steps
