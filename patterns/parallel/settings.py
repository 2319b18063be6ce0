"""What the proxy of parallel is told besides where its predictors are."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, ValidationInfo, field_validator

from common.roles.proxy_settings import ProxySettings, addresses_in

MOST = 9  # predictors of one proxy
TAKEN = {"label", "probabilities", "votes", "by"}  # names in a prediction, beside those of regressors
BY_ITEM = "_by_item"  # ends the name of a model that is asked for items by their ids
How = Literal["all", "vote", "mean", "best"]
HOWS: tuple[How, ...] = get_args(How)


class Settings(ProxySettings):
    """The environment of a `proxy`."""

    aggregate: How = Field(
        "mean",
        description="mean of the probabilities, vote, best (the most confident), or all (every answer, and the mean).",
    )
    strategy: Literal["all", "partial"] = Field(
        "all",
        description="all: the first failure fails the request; partial: the answers that arrive in time are used.",
    )
    predictor_timeout_seconds: float = Field(1.0, gt=0, description="With partial: longest time for one predictor.")
    quorum: int = Field(1, ge=1, description="With partial: fewer answers than this fail the request.")
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
    def _few(cls, text: str) -> str:
        names = addresses_in(text)
        if taken := [name for name in names if name in TAKEN]:
            raise ValueError(f"{taken[0]!r} cannot be a predictor's name: predictions have a field of that name")
        if (count := len(names)) > MOST:
            raise ValueError(
                f"{count} predictors, and at most {MOST} may be: an answer is as slow as the slowest of them, and each "
                "request becomes as many; let another proxy stand in the list for some of them"
            )
        return text

    @field_validator("quorum")
    @classmethod
    def _reachable(cls, quorum: int, others: ValidationInfo) -> int:
        count = len(addresses_in(others.data["predictors"])) if "predictors" in others.data else quorum
        if quorum > count:
            raise ValueError(f"{quorum} answers can never come from {count} predictors")
        return quorum
