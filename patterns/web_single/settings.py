"""The settings of the API of web_single."""

from __future__ import annotations

from pydantic import Field

from common.roles import predictor as server


class Settings(server.Settings):
    """The environment of the `api` service."""

    predict_max_rows: int = Field(10_000, ge=1, description="Most rows in one request to POST /predict.")
