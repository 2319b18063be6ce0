"""What a proxy is told: who its predictors are, and how much it may ask of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from common.settings import ServiceSettings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_FORM = "expected name=http://host:port[#model] or name=grpc://host:port[#model], several with commas between"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a predictor is and which of its models is meant."""

    url: str
    model: str


class ProxySettings(ServiceSettings):
    """The environment of a service that composes predictors."""

    predictors: str = Field(
        description="The predictors, separated by commas: `name=http://host:port[#model]` or `name=grpc://...`."
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
    """Addresses by name out of PREDICTORS. Raises ValueError that says which entry is wrong and why."""
    found: dict[str, Address] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, given, url = entry.partition("=")
        if not given or not _NAME.fullmatch(name):
            raise ValueError(f"{entry!r}: {_FORM}")
        if name in found:
            raise ValueError(f"{name!r} is named twice")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "grpc") or not parts.hostname or not _has_valid_port(url):
            raise ValueError(f"{entry!r}: {_FORM}")
        found[name] = Address(parts._replace(fragment="").geturl(), parts.fragment or name)
    if not found:
        raise ValueError(f"names no predictor; {_FORM}")
    return found


def _has_valid_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False
