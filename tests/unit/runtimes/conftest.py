"""A pattern of fake services in a folder of its own, for the runtimes to start."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtimes import Stack

SERVICE = Path(__file__).with_name("fake_service.py")

BASE = f"""
services:
  fake:
    image: python:3.13-slim
    entrypoint: [python, {SERVICE}]
    init: true
    stop_grace_period: 1s
    environment: {{MODE: , SHARED: from base}}
    volumes: ["{SERVICE}:{SERVICE}:ro"]
    healthcheck:
      test: [CMD, python, -c, "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz')"]
      interval: 1s
"""

PATTERN = """
services:
  api:
    extends: {file: base.yaml, service: fake}
    command: [role]
    environment:
      GREETING: ${GREETING:-hello}
      BACKEND: http://backend:8000/v2
      BACKENDS: one=http://backend:8000,two=backend:8001
      REDIS_URL: redis://redis:6379/0
      DATABASE_URL: mysql+pymysql://user:secret@db:3306/serving
    ports: ["127.0.0.1:${PORT:-8000}:8000", "127.0.0.1:${GRPC_PORT:-8001}:8001"]
    depends_on: {backend: {condition: service_healthy}, redis: {condition: service_healthy}}
  backend:
    extends: {file: base.yaml, service: fake}
  redis:
    image: redis:8
    command: [redis-server, --save, ""]
  db:
    image: mariadb:11.8
"""

SCALED = """
services:
  backend:
    extends: {file: base.yaml, service: fake}
    deploy: {replicas: 2}
"""

ALONE = """
services:
  api:
    extends: {file: base.yaml, service: fake}
    ports: ["127.0.0.1:${PORT:-8000}:8000"]
"""


@pytest.fixture
def compose_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "compose"
    directory.mkdir()
    texts = {"base": BASE, "fake": PATTERN, "alone.scaled": SCALED, "alone": ALONE}
    for name, text in texts.items():
        (directory / f"{name}.yaml").write_text(text)
    return directory


@contextmanager
def factory(compose_dir: Path, runtime: str) -> Iterator[Callable[..., Stack]]:
    """Makes stacks, on free ports, and takes them down in the end."""
    made: list[Stack] = []

    def create(pattern: str = "alone", **options: Any) -> Stack:
        name = f"unit-{pattern}-{os.getpid()}"
        settings: dict[str, Any] = {"port": 0, "runtime": runtime, "compose_dir": compose_dir, "name": name} | options
        made.append(Stack.create(pattern, **settings))
        return made[-1]

    try:
        yield create
    finally:
        for stack in made:
            stack.down()


@pytest.fixture
def create(runtime: str, compose_dir: Path) -> Iterator[Callable[..., Stack]]:
    """Stacks on each runtime that was asked for."""
    with factory(compose_dir, runtime) as create:
        yield create


@pytest.fixture
def create_local(compose_dir: Path) -> Iterator[Callable[..., Stack]]:
    """Stacks on processes of this machine."""
    with factory(compose_dir, "local") as create:
        yield create
