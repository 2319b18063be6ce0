"""A pattern of fake services in a folder of its own, for the runtimes to start."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtimes import Stack

SERVICE = Path(__file__).with_name("fake_service.py")

BASE = f"""
services:
  fake:
    entrypoint: [python, {SERVICE}]
    stop_grace_period: 1s
    environment: {{MODE: , SHARED: from base}}
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
  api:
    ports: !reset []
    deploy: {replicas: 2}
    depends_on: !reset {}
  backend:
    ports: ["127.0.0.1:${PORT:-8000}:8000"]
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
    texts = {"base": BASE, "fake": PATTERN, "fake.scaled": SCALED, "alone": ALONE}
    for name, text in texts.items():
        (directory / f"{name}.yaml").write_text(text)
    return directory


@pytest.fixture
def create(compose_dir: Path) -> Iterator[Callable[..., Stack]]:
    """Makes local stacks, on free ports, that are down after the test."""
    made: list[Stack] = []

    def _create(pattern: str = "alone", **options: object) -> Stack:
        settings = {"port": 0, "runtime": "local", "compose_dir": compose_dir} | options
        made.append(Stack.create(pattern, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield _create
    for stack in made:
        stack.down()
