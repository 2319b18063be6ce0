"""Patterns of fake services in a temporary folder, which the runtimes start."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runtimes import Stack

SERVICE = Path(__file__).with_name("fake_service.py")
COMPONENTS = Path(__file__).parents[3] / "k8s" / "components"
OPTIONS = Path(__file__).parents[3] / "compose" / "options"

BASE = f"""
services:
  fake:
    image: python:3.13-slim
    entrypoint: [python, {SERVICE}]
    init: true
    restart: unless-stopped
    stop_grace_period: 1s
    environment: {{MODE: , MODEL: , API_KEYS_FILE: , SHARED: from base}}
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
    ports: ["${BIND:-127.0.0.1}:${PORT:-8000}:8000", "${BIND:-127.0.0.1}:${GRPC_PORT:-0}:8001"]
    depends_on: {backend: {condition: service_healthy}, redis: {condition: service_healthy}}
  backend:
    extends: {file: base.yaml, service: fake}
  redis:
    image: redis:8
    command: [redis-server, --save, ""]
  db:
    image: mariadb:11.8
"""

KUSTOMIZATION = """
resources: [api.yaml]
components: [{components}/workload]
configMapGenerator: [{{name: service, files: [fake_service.py]}}]
labels: [{{includeTemplates: true, pairs: {{app.kubernetes.io/part-of: serving-patterns}}}}]
"""

SCALED_KUSTOMIZATION = """
resources: [../alone, backend.yaml]
components: [{components}/workload]
labels: [{{includeTemplates: true, pairs: {{app.kubernetes.io/part-of: serving-patterns}}}}]
"""

WORKLOAD = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app.kubernetes.io/component: {name}}}}}
  template:
    metadata: {{labels: {{app.kubernetes.io/component: {name}}}}}
    spec:
      containers:
        - name: app
          image: python:3.13-slim
          command: [python, /fake/fake_service.py]
          ports: [{{name: http, containerPort: 8000}}]
          volumeMounts: [{{name: fake, mountPath: /fake}}]
      volumes: [{{name: fake, configMap: {{name: service}}}}]
"""

ENTRY = """
---
apiVersion: v1
kind: Service
metadata: {name: entry}
spec:
  selector: {app.kubernetes.io/component: api}
  ports: [{name: http, port: 8000, targetPort: http}]
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
    ports: ["${BIND:-127.0.0.1}:${PORT:-8000}:8000"]
"""


@pytest.fixture
def compose_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "compose"
    directory.mkdir()
    texts = {"base": BASE, "fake": PATTERN, "alone.scaled": SCALED, "alone": ALONE}
    for name, text in texts.items():
        (directory / f"{name}.yaml").write_text(text)
    shutil.copytree(OPTIONS, directory / "options")
    write_manifests(tmp_path / "k8s" / "patterns")
    return directory


def write_manifests(patterns: Path) -> None:
    """Write the manifests of the same services, with the components of this checkout."""
    alone, scaled = patterns / "alone", patterns / "alone.scaled"
    for folder in (alone, scaled):
        folder.mkdir(parents=True)
    values = {"components": os.path.relpath(COMPONENTS, alone.resolve())}
    (alone / "fake_service.py").write_bytes(SERVICE.read_bytes())
    (alone / "kustomization.yaml").write_text(KUSTOMIZATION.format_map(values))
    (alone / "api.yaml").write_text(WORKLOAD.format(name="api", replicas=1) + ENTRY)
    (scaled / "kustomization.yaml").write_text(SCALED_KUSTOMIZATION.format_map(values))
    (scaled / "backend.yaml").write_text(WORKLOAD.format(name="backend", replicas=2))


@contextmanager
def factory(compose_dir: Path, runtime: str) -> Iterator[Callable[..., Stack]]:
    """A function that creates stacks on free ports. They are stopped at the end."""
    stacks: list[Stack] = []

    def create(pattern: str = "alone", **options: Any) -> Stack:
        name = f"unit-{pattern}-{os.getpid()}"
        settings: dict[str, Any] = {"port": 0, "runtime": runtime, "compose_dir": compose_dir, "name": name} | options
        stacks.append(Stack.create(pattern, **settings))
        return stacks[-1]

    try:
        yield create
    finally:
        for stack in stacks:
            stack.down()


@pytest.fixture
def create(runtime: str, compose_dir: Path) -> Iterator[Callable[..., Stack]]:
    """Creates stacks in each runtime given by --runtime."""
    with factory(compose_dir, runtime) as create:
        yield create


@pytest.fixture
def create_local(compose_dir: Path) -> Iterator[Callable[..., Stack]]:
    """Creates stacks in the local runtime."""
    with factory(compose_dir, "local") as create:
        yield create


@pytest.fixture
def create_here(runtime: str, compose_dir: Path) -> Iterator[Callable[..., Stack]]:
    """Creates stacks in each runtime that uses ports of this machine; a cluster uses node ports instead."""
    with factory(compose_dir, "local" if runtime == "kubernetes" else runtime) as create:
        yield create
