"""What the reading of pages can be told, whoever holds the models."""

from __future__ import annotations

from pydantic import Field, field_validator

from common.preprocessing.pictures import MAX_PIXELS
from common.roles.proxy_settings import ProxySettings, addresses_in
from common.settings import ServiceSettings

ORIENTATION, DETECTION, RECOGNITION, HEAVY = STAGES = ("orientation", "detection", "recognition", "recognition-heavy")


class ReadingSettings(ServiceSettings):
    """The pipeline's own."""

    read_again_below: float = Field(
        0.95,
        ge=0,
        le=1,
        description="A line read with less confidence goes to the heavier recogniser too; 0: none does.",
    )
    read_again_within_seconds: float = Field(
        5.0, gt=0, description="How long the heavier recogniser may take; then the first reading stands."
    )
    max_lines: int = Field(200, ge=1, description="Lines that are read of one page, the largest; the rest is counted.")
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="Width times height that a picture may have.")
    picture_threads: int = Field(2, ge=1, description="Threads that open, turn and cut pictures.")
    picture_queue: int = Field(32, ge=0, description="Pictures that may wait for one; more are refused with 503.")


class Settings(ReadingSettings, ProxySettings):
    """The environment of the `proxy` service."""

    @field_validator("predictors")
    @classmethod
    def _complete(cls, text: str) -> str:
        if addresses_in(text).keys() != set(STAGES):
            raise ValueError(f"expected one predictor for each of {', '.join(STAGES)}")
        return text
