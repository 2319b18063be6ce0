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
        description="mean of the probabilities, vote, best (the most confident), or all (each, beside the mean).",
    )
    strategy: Literal["all", "partial"] = Field(
        "all", description="all: the first failure is the answer; partial: what came in time is."
    )
    predictor_timeout_seconds: float = Field(1.0, gt=0, description="With partial: how long one predictor may take.")
    quorum: int = Field(1, ge=1, description="With partial: fewer answers than this are a failure.")
    fetch: Literal["proxy", "predictors"] = Field("proxy", description="Who fetches the features of items.")
    redis_url: str = Field("", description="The feature store; empty: items are refused, unless predictors fetch.")
    store_timeout_seconds: float = Field(1.0, gt=0, description="How long the feature store may take.")
    predict_max_rows: int = Field(10_000, ge=1, description="Rows that one call of POST /predict may bring.")

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
