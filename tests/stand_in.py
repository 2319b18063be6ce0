"""A predictor that a test holds in its hands, and a proxy over such predictors alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from runtimes.ports import free_ports
from tests.asking.parallel import COLUMNS, LABELS
from tests.support import eventually

ROOT = Path(__file__).parents[1]


class StandIn:
    """Answers the protocol with what its fields say at the moment."""

    def __init__(self, name: str, **changes: Any) -> None:
        self.name, self.version, self.status, self.asked = name, "1", 200, 0
        self.properties: dict[str, str] = {"labels": json.dumps(LABELS), "features": json.dumps(COLUMNS)}
        self.shape, self.data, self.datatype = [1, 3], [0.2, 0.3, 0.5], "FP32"
        self.__dict__.update(changes)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(stand_in.metadata())

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                stand_in.asked += 1
                self._answer(stand_in.infer(), stand_in.status)

            def _answer(self, body: dict[str, Any], status: int = 200) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        return Handler

    def metadata(self) -> dict[str, Any]:
        tensor = {"datatype": "FP32", "shape": [-1, 4]}
        outputs = [{**tensor, "name": "said", "shape": [-1, 3]}]
        told = {"name": self.name, "versions": [self.version], "platform": "none", "outputs": outputs}
        return {**told, "inputs": [{**tensor, "name": "rows"}], "properties": self.properties}

    def infer(self) -> dict[str, Any]:
        if self.status != 200:
            return {"error": "it is not well"}
        said = {"name": "said", "shape": self.shape, "datatype": self.datatype, "data": self.data}
        return {"model_name": self.name, "model_version": self.version, "outputs": [said]}


@contextmanager
def proxy_over(*stand_ins: StandIn, ready: bool = True, **env: str) -> Iterator[str]:
    """The URL of a proxy of its own, ready unless it is not to be."""
    listed = ",".join(f"{one.name}={one.url}" for one in stand_ins)
    with process_of("patterns.parallel.proxy", ready=ready, PREDICTORS=listed, **env) as url:
        yield url


@contextmanager
def process_of(role: str, *, ready: bool = True, **env: str) -> Iterator[str]:
    """The URL of one process of a role, on this machine; it has only this environment, and ends within 20 seconds."""
    (port,) = free_ports(1)
    settings = {"HTTP_PORT": str(port), "GRPC_PORT": "0", "PATH": os.environ["PATH"], **env}
    process = subprocess.Popen([sys.executable, "-m", "common.serve", role], cwd=ROOT, env=settings)
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: reachable(url) and (not ready or httpx.get(f"{url}/readyz").is_success), 20, "it is ready")
        yield url
    finally:
        process.terminate()
        assert process.wait(20) == 0


def reachable(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").is_success
    except httpx.TransportError:
        return False
