"""penguins: a linear classifier of categorical and numerical features, any of which may be missing."""

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

from models import learned_steps, pinned_wheels, sklearn_onnx
from models.build_api import BuildContext, BuildResult
from models.manifest import Manifest

PACKAGE = "palmerpenguins"
FILE = "palmerpenguins/data/penguins.csv"
SHA256 = "f204db2c753b0937caac3cb35258562c14f073e4bbc76be24b4c51ce22767a93"
NUMBERS = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")

Penguin = dict[str, Any]


@dataclass
class Preprocessor:
    """Preprocessing fitted to the training rows: one-hot categories, then imputed and standardised numbers."""

    encoder: Any
    numbers: Any
    categories: dict[str, dict[str, Any]]

    @classmethod
    def fitted(cls, penguins: Sequence[Penguin], manifest: Manifest) -> "Preprocessor":
        """Fit to these rows. The categories and the replacements of missing values are those of the manifest."""
        (categories,) = [step["one_hot"] for step in manifest["preprocessing"]["steps"] if "one_hot" in step]
        encoder = OneHotEncoder(categories=[rule["categories"] for rule in categories.values()], sparse_output=False)
        numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
        preprocessor = cls(encoder, numbers, categories)
        encoder.fit(preprocessor._categories_of(penguins))
        numbers.fit(_measurements(penguins))
        return preprocessor

    def rows(self, penguins: Sequence[Penguin]) -> NDArray[np.float32]:
        hot = self.encoder.transform(self._categories_of(penguins))
        return np.hstack([hot, self.numbers.transform(_measurements(penguins))]).astype(np.float32)

    @property
    def learned(self) -> dict[str, Any]:
        """The learned parameters of the steps `impute` and `standardise`."""
        imputer, scaler = (step for _, step in self.numbers.steps)
        medians = dict(zip(NUMBERS, learned_steps.rounded(imputer.statistics_), strict=True))
        return {"impute": medians, "standardise": learned_steps.standardise_parameters(NUMBERS, scaler)}

    def _categories_of(self, penguins: Sequence[Penguin]) -> NDArray[Any]:
        rules = self.categories.items()
        return np.array([[it[name] or rule["missing_as"] for name, rule in rules] for it in penguins], dtype=object)


def _measurements(penguins: Sequence[Penguin]) -> NDArray[np.float64]:
    return np.array([[it[name] for name in NUMBERS] for it in penguins], dtype=np.float64)  # None becomes NaN


def data(context: BuildContext) -> tuple[list[Penguin], NDArray[np.int64], NDArray[np.bool_]]:
    """The penguins, the species index of each, and which are held out: a stratified quarter."""
    text = pinned_wheels.read_file(context.wheels, PACKAGE, FILE, SHA256).decode()
    lines = list(csv.DictReader(text.splitlines()))
    names = context.manifest["labels"]
    species = np.array([names.index(line["species"]) for line in lines])
    held_out = np.zeros(len(lines), dtype=np.bool_)
    numbers = np.arange(len(lines))
    held_out[train_test_split(numbers, test_size=sklearn_onnx.HELD_OUT, random_state=0, stratify=species)[1]] = True
    return [_penguin(line) for line in lines], species, held_out


def _penguin(line: dict[str, str]) -> Penguin:
    known = {name: None if line[name] == "NA" else line[name] for name in ("island", "sex", *NUMBERS)}
    return known | {name: float(value) for name in NUMBERS if (value := known[name]) is not None}


def build(context: BuildContext) -> BuildResult:
    """Train on each penguin twice: as it is, and with one value removed, so that the model learns missing values."""
    penguins, species, held_out = data(context)
    training = [it for it, held in zip(penguins, held_out, strict=True) if not held]
    preprocessor = Preprocessor.fitted(training, context.manifest)
    rows = preprocessor.rows([*training, *_with_one_random_value_missing(training)])
    estimator = LogisticRegression(C=10, max_iter=1000).fit(rows, np.tile(species[~held_out], 2))
    dataset = sklearn_onnx.Dataset(preprocessor.rows(penguins), species, held_out)
    result = sklearn_onnx.fitted_classifier(estimator, dataset, context.manifest)
    _, answers = dataset.test
    predicted = estimator.predict(preprocessor.rows(_with_each_value_missing(penguins, held_out)))
    accuracy = float(np.mean(predicted.reshape(-1, len(answers)) == answers))
    result.manifest_fields["metrics"]["accuracy_one_missing"] = round(accuracy, 4)
    examples = learned_steps.verified_examples(context.manifest, penguins, species, dataset.rows)
    return learned_steps.with_learned_steps(result, context.manifest, preprocessor.learned, examples)


def _with_one_random_value_missing(penguins: Sequence[Penguin]) -> list[Penguin]:
    generator = random.Random(0)
    return [it | {generator.choice(sorted(it)): None} for it in penguins]


def _with_each_value_missing(penguins: Sequence[Penguin], chosen: NDArray[np.bool_]) -> list[Penguin]:
    """The chosen penguins without their first value, then all of them without their second value, and so on."""
    held = [it for it, is_chosen in zip(penguins, chosen, strict=True) if is_chosen]
    return [it | {name: None} for name in held[0] for it in held]
