"""Settings that every service has, typed, from the environment; each field documents itself.

A role adds its own fields in a subclass. The tables in the READMEs are generated from here (``make docs`).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """What any service of any pattern is told by its environment."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    pattern: str = Field(
        "web_single", description="The pattern this service belongs to; in logs, metrics and metadata."
    )
    service: str = Field("api", description="The service's name within the pattern.")
    host: str = Field("127.0.0.1", description="Address to listen on; images set 0.0.0.0.")
    http_port: int = Field(8000, ge=0, le=65535, description="HTTP port.")
    grpc_port: int = Field(8001, ge=0, le=65535, description="gRPC port; 0 turns gRPC off.")
    log_level: Literal["info", "warning", "error"] = Field("info", description="Least level that is logged.")
    access_log: bool = Field(True, description="One JSON line a request.")
    max_body_bytes: int = Field(64_000_000, gt=0, description="A larger request body is refused with 413.")
    max_buffered_bytes: int = Field(
        256_000_000, gt=0, description="All bodies held at once; a request beyond it is refused with 503."
    )
    request_timeout_seconds: float = Field(
        30.0, gt=0, description="Deadline of a request that brings none, and the longest that one may ask for."
    )
    drain_delay_seconds: float = Field(
        0.0, ge=0, description="After SIGTERM: how long to go on serving, unready, until balancers have noticed."
    )
    drain_timeout_seconds: float = Field(20.0, gt=0, description="After that: how long requests in flight may take.")
    stuck_seconds: float = Field(
        30.0, gt=0, description="An inference that runs longer makes the service unready; twice as long, not alive."
    )
    faults: bool = Field(False, description="Opens POST /faults, which injects latency and errors; for drills.")
