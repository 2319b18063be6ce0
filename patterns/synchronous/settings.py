"""What the API of synchronous is told besides what every predictor is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from common.jobs.in_process import JobPolicy
from common.roles import predictor as server


class Settings(server.Settings):
    """The environment of the `api` service."""

    max_body_bytes: int = Field(20_000_000, gt=0, description="A larger request body is refused with 413.")
    model: str = Field("imagenet_lite0", pattern=r"\w", description="The model to serve; a picture classifier.")
    queue_limit: int = Field(64, ge=1, description="Requests that may wait for a model; more are refused with 503.")
    decode_threads: int = Field(1, ge=1, description="Threads that decode and prepare pictures.")
    decode_queue: int = Field(8, ge=0, description="Pictures that may wait for such a thread; more: 503.")
    max_pixels: int = Field(25_000_000, ge=1, description="A picture with more is refused before it is decoded.")
    on_timeout: Literal["504", "job"] = Field(
        "504", description="What a caller gets whose time is up: a refusal, or a job to ask about later."
    )
    jobs_limit: int = Field(100, ge=1, description="Jobs that are kept, over or not; beyond them 503.")
    job_timeout_seconds: float = Field(300.0, gt=0, description="How long a job may take before it has failed.")
    job_ttl_seconds: float = Field(600.0, gt=0, description="How long a job is kept once it is over; 410 afterwards.")

    @property
    def job_policy(self) -> JobPolicy:
        return JobPolicy(self.jobs_limit, self.job_ttl_seconds, self.job_timeout_seconds, self.on_timeout == "job")
