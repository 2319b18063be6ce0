"""What a fitted scikit-learn estimator says of the columns that it takes: which of them are text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline


def takes_texts(estimator: Any) -> bool:
    """Whether its input is a list of texts, and not a table."""
    if isinstance(estimator, Pipeline):
        return takes_texts(estimator.steps[0][1])
    if isinstance(estimator, FeatureUnion):
        return any(takes_texts(part) for _, part in estimator.transformer_list)
    best = getattr(estimator, "best_estimator_", None)  # of a search for parameters
    return isinstance(estimator, CountVectorizer | HashingVectorizer) or (best is not None and takes_texts(best))


def text_columns(estimator: Any, columns: Sequence[str]) -> set[str]:
    """The columns whose fitted encoders, imputers and vectorizers show that they were text."""
    if takes_texts(estimator):
        return set(columns)
    if isinstance(estimator, ColumnTransformer):
        return _of_parts(estimator, columns)
    if isinstance(estimator, FeatureUnion):
        return set().union(*(text_columns(part, columns) for _, part in estimator.transformer_list))
    if isinstance(estimator, Pipeline):
        first = estimator.steps[0][1]
        keeps = first == "passthrough" or (isinstance(first, SimpleImputer) and not first.add_indicator)
        rest = text_columns(estimator[1:], columns) if keeps and len(estimator.steps) > 1 else set()
        return text_columns(first, columns) | rest
    if (best := getattr(estimator, "best_estimator_", None)) is not None:
        return text_columns(best, columns)
    return _of_values(estimator, columns)


def _of_parts(estimator: ColumnTransformer, columns: Sequence[str]) -> set[str]:
    positions = getattr(estimator, "_transformer_to_input_indices", {})  # `transformers_` has names, masks or slices
    found: set[str] = set()
    for name, part, _ in estimator.transformers_:
        taken = [columns[at] for at in positions.get(name, ()) if at < len(columns)]
        found |= text_columns(part, taken)
    return found


def _of_values(estimator: Any, columns: Sequence[str]) -> set[str]:
    """The columns whose categories, or the value that replaces a missing one, are text."""
    categories = [list(known)[:1] for known in getattr(estimator, "categories_", ())]
    filled = [[value] for value in getattr(estimator, "statistics_", ())]
    known = categories or filled
    return {
        column for column, values in zip(columns, known, strict=False) if any(isinstance(one, str) for one in values)
    }
