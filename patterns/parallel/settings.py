"""The settings of the proxy of parallel."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, ValidationInfo, field_validator

from common.roles.proxy_settings import ProxySettings, addresses_in

MAX_PREDICTORS = 9
RESERVED_NAMES = {
    "label",
    "probabilities",
    "votes",
    "by",
}  # a regressor's name becomes a field of the prediction, so it must differ
BY_ITEM = "_by_item"  # suffix of the models whose input is the ids of items
Aggregation = Literal["all", "vote", "mean", "best"]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)


class Settings(ProxySettings):
    """The environment of a `proxy`."""

    aggregate: Aggregation = Field(
        "mean",
        description="mean of the probabilities, vote, best (the most confident), or all (every answer, and the mean).",
    )
    strategy: Literal["all", "partial"] = Field(
        "all",
        description="all: the first failure fails the request; partial: the answers that arrive in time are used.",
    )
    predictor_timeout_seconds: float = Field(
        1.0, gt=0, description="With STRATEGY=partial: longest time for one predictor."
    )
    quorum: int = Field(
        1, ge=1, description="With STRATEGY=partial: the smallest number of predictors that must answer."
    )
    quorum_classifiers: int = Field(
        0, ge=0, description="With STRATEGY=partial: the smallest number of classifiers that must answer."
    )
    fetch: Literal["proxy", "predictors"] = Field(
        "proxy", description="Which services read the features of items from the store."
    )
    redis_url: str = Field(
        "", description="The feature store; if empty, items are refused unless the predictors fetch."
    )
    store_timeout_seconds: float = Field(1.0, gt=0, description="Longest time for a call to the feature store.")
    predict_max_rows: int = Field(10_000, ge=1, description="Most rows in one request to POST /predict.")

    @field_validator("predictors")
    @classmethod
    def _check_predictors(cls, text: str) -> str:
        names = addresses_in(text)
        if reserved := [name for name in names if name in RESERVED_NAMES]:
            raise ValueError(
                f"{reserved[0]!r} cannot be the name of a predictor: predictions have a field of that name"
            )
        if (count := len(names)) > MAX_PREDICTORS:
            raise ValueError(
                f"expected at most {MAX_PREDICTORS} predictors, got {count} predictors: a response is as slow as "
                "the slowest of them; put another proxy in front of some of them, and list that one instead"
            )
        return text

    @field_validator("quorum", "quorum_classifiers")
    @classmethod
    def _check_quorum(cls, quorum: int, others: ValidationInfo) -> int:
        count = len(addresses_in(others.data["predictors"])) if "predictors" in others.data else quorum
        if quorum > count:
            raise ValueError(f"expected at most {count}, the number of predictors, got {quorum}")
        return quorum
