"""Settings that every service has, typed, from the environment; each field documents itself.

A role adds its own fields in a subclass. The tables in the READMEs are generated from here (``make docs`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.request.api_keys import parse_keys, unreadable


class ServiceSettings(BaseSettings):
    """The settings that every service of every pattern has."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    pattern: str = Field(
        "web_single", description="The pattern of this service, as shown in logs, metrics and metadata."
    )
    service: str = Field("api", description="The service's name within the pattern.")
    host: str = Field("127.0.0.1", description="Address to listen on; images set it to 0.0.0.0.")
    http_port: int = Field(8000, ge=0, le=65535, description="HTTP port.")
    grpc_port: int = Field(8001, ge=0, le=65535, description="gRPC port; 0 turns gRPC off.")
    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        "info", description="Lowest level that is logged: debug, info, warning, error or critical, in either case."
    )
    access_log: bool = Field(True, description="Logs one JSON line for each request.")
    max_body_bytes: int = Field(64_000_000, gt=0, description="Largest request body; a larger one gets 413.")
    max_message_bytes: int = Field(
        16_000_000, gt=0, description="Largest gRPC message, after decompression; a larger one is RESOURCE_EXHAUSTED."
    )
    max_buffered_bytes: int = Field(
        128_000_000,
        gt=0,
        description="Most bytes of all requests together (bodies, messages, tensors, responses); beyond it 503, or 413 "
        "for a request that needs more by itself.",
    )
    max_rows: int = Field(100_000, gt=0, description="Most rows in one request of an inference protocol; more get 413.")
    request_timeout_seconds: float = Field(
        30.0, gt=0, description="Longest time for a request, and the time for a request that sets none."
    )
    api_keys: str = Field(
        "",
        description="API keys that callers need, as `name:sha256[:requests_per_second]`, separated by commas; the name "
        "is logged as the tenant. Empty, and no file: everyone who reaches the service may call.",
    )
    api_keys_file: Path | None = Field(
        None, description="A file with such keys, one a line. It is read again when it changes."
    )
    api_key_requests_per_second: float = Field(
        0.0, ge=0, description="Limit of each key that states none; more get 429. 0: no limit."
    )
    cors_origins: str = Field(
        "", description="Origins whose pages may call from a browser, separated by commas; `*`: any."
    )
    drain_delay_seconds: float = Field(
        0.0, ge=0, description="After SIGTERM: time to go on answering while unready, until balancers have noticed."
    )
    drain_timeout_seconds: float = Field(
        20.0, gt=0, description="After that: time in which requests in flight may finish."
    )
    stuck_seconds: float = Field(
        30.0,
        gt=0,
        description="A run of a model that takes longer makes the service unready; twice as long, not alive.",
    )
    faults: bool = Field(False, description="Enables POST /faults, which injects latency and errors for drills.")

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_lower_case(cls, level: object) -> object:
        return level.lower() if isinstance(level, str) else level

    @field_validator("api_keys")
    @classmethod
    def _keys(cls, text: str) -> str:
        parse_keys(text)
        return text

    @field_validator("api_keys_file", mode="before")
    @classmethod
    def _none_if_empty(cls, file: object) -> object:
        return file or None

    @field_validator("api_keys_file")
    @classmethod
    def _keys_in_file(cls, file: Path | None) -> Path | None:
        if file is not None:
            try:
                parse_keys(file.read_text())
            except OSError as error:
                raise ValueError(unreadable(error)) from None
        return file

    @property
    def origins(self) -> list[str]:
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]
