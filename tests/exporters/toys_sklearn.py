"""Estimators of scikit-learn, as a user has them."""

from __future__ import annotations

from typing import Any

from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def flowers() -> Any:
    """A classifier of three kinds by name, fitted to four columns."""
    rows, kinds = load_iris(return_X_y=True)
    names = load_iris().target_names
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(rows, names[kinds])


def forest() -> Any:
    return RandomForestClassifier(5, random_state=0).fit(*load_iris(return_X_y=True))


def width() -> Any:
    """A regressor of the last column by the others."""
    rows, _ = load_iris(return_X_y=True)
    return Ridge().fit(rows[:, :3], rows[:, 3])


def two_at_once() -> Any:
    """A regressor of the last two columns by the first two."""
    rows, _ = load_iris(return_X_y=True)
    return Ridge().fit(rows[:, :2], rows[:, 2:])


def not_fitted() -> Any:
    return Ridge()


def without_probabilities() -> Any:
    return LinearSVC().fit(*load_iris(return_X_y=True))


def without_answers() -> Any:
    return KMeans(3).fit(load_iris(return_X_y=True)[0])


def two_questions() -> Any:
    rows, kinds = load_iris(return_X_y=True)
    return RandomForestClassifier(2).fit(rows, [[kind, kind > 0] for kind in kinds])


def nothing() -> Any:
    return 5
