"""The client's tests run on both event loops: services use uvloop, scripts and notebooks asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import pytest_asyncio
import uvloop

from tests.unit.common.client.http_predictor import HttpPredictor


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture
async def predictor() -> AsyncIterator[HttpPredictor]:
    async with HttpPredictor().running() as running:
        yield running
