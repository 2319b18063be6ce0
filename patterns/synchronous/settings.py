"""The settings of the API of synchronous."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from common.roles import predictor as server


class Settings(server.Settings):
    """The environment of the `api` service."""

    max_body_bytes: int = Field(20_000_000, gt=0, description="Largest request body; a larger one gets 413.")
    model: str = Field("imagenet_lite0", pattern=r"\w", description="The model to serve; a picture classifier.")
    queue_limit: int = Field(64, ge=1, description="Most requests that may wait for a model; more get 503.")
    decode_threads: int = Field(1, ge=1, description="Threads that decode and prepare pictures.")
    decode_queue: int = Field(8, ge=0, description="Most pictures that may wait for such a thread; more get 503.")
    max_pixels: int = Field(
        25_000_000, ge=1, description="Most pixels of a picture; one with more is refused before it is decoded."
    )
    on_timeout: Literal["504", "job"] = Field(
        "504", description="What a caller gets at the deadline: status 504, or a job whose result can be fetched later."
    )
    jobs_url: str = Field(
        "",
        description="The Redis that keeps jobs (`redis://host:port`), so that they outlive this process; "
        "without it they end with the process.",
    )
    jobs_lease_seconds: float = Field(
        30.0, gt=0, description="With JOBS_URL: after so long without a sign of life, a job's process has ended."
    )
    jobs_limit: int = Field(
        100, ge=1, description="Most jobs that are kept, running or finished; a request beyond it gets 503."
    )
    job_timeout_seconds: float = Field(300.0, gt=0, description="Longest time for a job; after it the job has expired.")
    job_ttl_seconds: float = Field(600.0, gt=0, description="How long a finished job is kept; after that it gets 410.")
