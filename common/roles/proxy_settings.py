"""The settings of a proxy: the addresses of its predictors, and the limits of the calls to them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from common.settings import ServiceSettings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_FORM = "expected name=http://host:port[#model] or name=grpc://host:port[#model], separated by commas"


@dataclass(frozen=True, slots=True)
class Address:
    """The URL of a predictor and the name of one of its models."""

    url: str
    model: str


class ProxySettings(ServiceSettings):
    """The settings of a service that composes predictors."""

    predictors: str = Field(
        description="The predictors, separated by commas: `name=http://host:port[#model]` or `name=grpc://...`."
    )
    predictor_api_key: str = Field(
        "", pattern=r"[!-~]*", description="The API key that the predictors need, if they need one."
    )
    predictor_concurrency: int = Field(64, ge=1, description="Most calls to one predictor at the same time.")
    predictor_queue: int = Field(256, ge=0, description="Most calls that may wait for one predictor; more get 503.")
    predictor_attempts: int = Field(3, ge=1, le=10, description="Most attempts for one call, if a retry is safe.")

    @field_validator("predictors")
    @classmethod
    def _readable(cls, text: str) -> str:
        addresses_in(text)
        return text

    def addresses(self) -> dict[str, Address]:
        """The predictors by name, in the order given."""
        return addresses_in(self.predictors)


def addresses_in(text: str) -> dict[str, Address]:
    """Parses PREDICTORS to addresses by name. Raises ValueError that names the entry and what was expected."""
    found: dict[str, Address] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, given, url = entry.partition("=")
        if not given or not _NAME.fullmatch(name):
            raise ValueError(f"{entry!r}: {_FORM}")
        if name in found:
            raise ValueError(f"expected each name once, but {name!r} is named twice")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "grpc") or not parts.hostname or not _has_valid_port(url):
            raise ValueError(f"{entry!r}: {_FORM}")
        found[name] = Address(parts._replace(fragment="").geturl(), parts.fragment or name)
    if not found:
        raise ValueError(f"the list names no predictor; {_FORM}")
    return found


def _has_valid_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False
