"""PREDICTORS: what may stand there, and what a wrong entry is answered with."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from common.roles.proxy_settings import Address, ProxySettings, addresses_in


def test_names_urls_and_models() -> None:
    text = "iris=http://iris:8000, forest=http://forest:8000#iris_rf,width=grpc://width:8001#petal_width,"
    assert addresses_in(text) == {
        "iris": Address("http://iris:8000", "iris"),
        "forest": Address("http://forest:8000", "iris_rf"),
        "width": Address("grpc://width:8001", "petal_width"),
    }


def test_the_order_is_kept() -> None:
    assert list(addresses_in("b=http://b:1,a=http://a:1")) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no predictor"),
        (" , ", "names no predictor"),
        ("iris", "'iris': expected name="),
        ("=http://iris:8000", "expected name="),
        ("i ris=http://iris:8000", "expected name="),
        ("iris=iris:8000", "expected name="),
        ("iris=ftp://iris:8000", "expected name="),
        ("iris=http://:8000", "expected name="),
        ("iris=http://iris:80000", "expected name="),
        ("a=http://a:1,a=http://b:1", "'a' is named twice"),
    ],
)
def test_a_wrong_entry_is_refused_at_the_start(text: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ProxySettings.model_validate({"predictors": text})
    assert said in str(caught.value)
