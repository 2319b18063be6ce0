"""The settings of serial: those of the pipeline, and those of the proxy."""

from __future__ import annotations

from pydantic import Field, field_validator

from common.preprocessing.pictures import MAX_PIXELS
from common.roles.proxy_settings import ProxySettings, addresses_in
from common.settings import ServiceSettings

ORIENTATION, DETECTION, RECOGNITION, HEAVY = STAGES = ("orientation", "detection", "recognition", "recognition-heavy")


class ReadingSettings(ServiceSettings):
    """The settings of the pipeline, in a proxy or in one process with all models."""

    read_again_below: float = Field(
        0.95,
        ge=0,
        le=1,
        description="Lines with a lower confidence also go to the heavier recogniser; 0 sends none.",
    )
    read_again_within_seconds: float = Field(
        5.0, gt=0, description="Longest time for the heavier recogniser; after it the text of the first one is used."
    )
    min_confidence: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Lines with a lower confidence after all readings are only counted: what looks like text to the "
        "detection is not always text.",
    )
    max_lines: int = Field(
        200, ge=1, description="Most lines that are read on one page, the largest first; the others are only counted."
    )
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="Most pixels (width times height) of a picture.")
    picture_threads: int = Field(2, ge=1, description="Threads that decode, rotate and crop pictures.")
    picture_queue: int = Field(
        32, ge=0, description="Most pictures that may wait for such a thread, and for memory; more get 503."
    )


class Settings(ReadingSettings, ProxySettings):
    """The environment of the `proxy` service."""

    @field_validator("predictors")
    @classmethod
    def _complete(cls, text: str) -> str:
        if addresses_in(text).keys() != set(STAGES):
            names = ", ".join(addresses_in(text))
            raise ValueError(f"expected one predictor for each of {', '.join(STAGES)}, got {names}")
        return text
