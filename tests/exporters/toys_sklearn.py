"""Toy scikit-learn estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def flowers() -> Any:
    """A classifier with three string classes, fitted to four columns."""
    rows, classes = load_iris(return_X_y=True)
    names = load_iris().target_names
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(rows, names[classes])


def forest() -> Any:
    return RandomForestClassifier(5, random_state=0).fit(*load_iris(return_X_y=True))


def boosted() -> Any:
    return HistGradientBoostingClassifier(max_iter=20).fit(*load_iris(return_X_y=True))


def width() -> Any:
    """A regressor that predicts the last column from the others."""
    rows, _ = load_iris(return_X_y=True)
    return Ridge().fit(rows[:, :3], rows[:, 3])


def two_targets() -> Any:
    """A regressor that predicts the last two columns from the first two."""
    rows, _ = load_iris(return_X_y=True)
    return Ridge().fit(rows[:, :2], rows[:, 2:])


def passengers() -> Any:
    """A classifier of a table with text and numbers."""
    table = np.array([["male", 30], ["female", 7.5], ["male", 8], ["female", 50]], object)
    columns = ColumnTransformer([("sex", OneHotEncoder(handle_unknown="ignore"), [0]), ("fare", "passthrough", [1])])
    return make_pipeline(columns, LogisticRegression()).fit(table, ["lost", "lost", "lost", "saved"])


def opinions() -> Any:
    """A classifier of texts."""
    texts = ["a good, red day", "a bad day", "a good night", "awful and bad"]
    return make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, ["up", "down", "up", "down"])


def places() -> Any:
    """A classifier of a postcode, which is text of digits, and a number of rooms; either may be missing."""
    table = np.array([["01067", 3], ["20095", 5], ["", 4], ["01067", np.nan]], object)
    postcode = make_pipeline(
        SimpleImputer(missing_values="", strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
    )
    rooms = make_pipeline(SimpleImputer(), StandardScaler())
    columns = ColumnTransformer([("postcode", postcode, [0]), ("rooms", rooms, [1])])
    return make_pipeline(columns, LogisticRegression()).fit(table, ["east", "north", "north", "east"])


def gaps_of_text() -> Any:
    """A classifier whose imputer takes NaN for a missing text, which skl2onnx does not convert."""
    return _imputed(SimpleImputer(strategy="most_frequent"), SimpleImputer())


def with_indicator() -> Any:
    """A classifier that is told which numbers are missing, which skl2onnx does not convert."""
    return _imputed(SimpleImputer(missing_values="", strategy="most_frequent"), SimpleImputer(add_indicator=True))


def _imputed(text: Any, numbers: Any) -> Any:
    table = np.array([["male", 30], ["female", np.nan], ["male", 8], ["female", 50]], object)
    encoded = make_pipeline(text, OneHotEncoder(handle_unknown="ignore"))
    columns = ColumnTransformer([("sex", encoded, [0]), ("fare", make_pipeline(numbers, StandardScaler()), [1])])
    return make_pipeline(columns, LogisticRegression()).fit(table, ["lost", "lost", "lost", "saved"])


def not_fitted() -> Any:
    return Ridge()


def without_probabilities() -> Any:
    return LinearSVC().fit(*load_iris(return_X_y=True))


def without_answers() -> Any:
    return KMeans(3).fit(load_iris(return_X_y=True)[0])


def two_classifications() -> Any:
    rows, classes = load_iris(return_X_y=True)
    return RandomForestClassifier(2).fit(rows, [[one, one > 0] for one in classes])


def nothing() -> Any:
    return 5
