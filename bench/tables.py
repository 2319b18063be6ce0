"""Tables for two READMEs that compare settings of one service: `python -m bench.tables estimator` or `remedies`.

Each row is a process of its own on this machine, started with other settings. The requests go to the rows in turns, so
that other load on the machine meets all of them; a time is the median.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from bench.process import ROOT, BenchError
from runtimes.ports import free_ports

READY_SECONDS = 120
ESTIMATOR_ROLE, ONNX_ROLE, SERIAL_ROLE = (
    "patterns.synchronous.estimator",
    "patterns.synchronous.api",
    "patterns.serial.api",
)
TRUSTED = "sklearn.calibration._CalibratedClassifier,sklearn.calibration._SigmoidCalibration"
FLOWER = [5.1, 3.5, 1.4, 0.2]
SAMPLES = ROOT / "patterns" / "serial" / "samples"
LIGHT, HEAVY = "text_recognition", "text_recognition_heavy"


@dataclass(frozen=True)
class Service:
    """A running process."""

    url: str
    pid: int

    def post(self, path: str, body: bytes, content_type: str = "application/json") -> Any:
        request = Request(self.url + path, body, {"Content-Type": content_type})
        with urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def megabytes(self) -> float:
        """The memory that the process holds now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def started(role: str, settings: Mapping[str, str]) -> Iterator[Service]:
    """A process of a role, until it is ready; it is ended afterwards."""
    (port,) = free_ports(1)
    env = {**os.environ, "HTTP_PORT": str(port), "GRPC_PORT": "0", "ACCESS_LOG": "false", **settings}
    process = subprocess.Popen(
        [sys.executable, "-m", "common.serve", role], cwd=ROOT, env=env, stdout=subprocess.DEVNULL
    )
    try:
        service = Service(f"http://127.0.0.1:{port}", process.pid)
        _wait(service)
        yield service
    finally:
        process.terminate()
        process.wait(30)


def _wait(service: Service) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        try:
            with urlopen(f"{service.url}/readyz", timeout=5):
                return
        except URLError:
            time.sleep(0.1)
    raise BenchError(f"{service.url} is not ready after {READY_SECONDS} s; its log says why")


def medians(work: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median milliseconds of each piece of work, which is done once in every round, after one round of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, one in work.items():
            start = time.perf_counter()
            one()
            if number:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """The rows as text: the first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def infer_body(rows: int) -> bytes:
    data = [value + row % 7 / 10 for row in range(rows) for value in FLOWER]
    return json.dumps({"inputs": [{"name": "features", "shape": [rows, 4], "datatype": "FP32", "data": data}]}).encode()


def estimator() -> None:
    """The estimator of iris in scikit-learn and its ONNX twin, each behind the same routes."""
    named = {"scikit-learn, in process": ESTIMATOR_ROLE, "its ONNX twin": ONNX_ROLE}
    item = json.dumps(dict(zip(("sepal_length", "sepal_width", "petal_length", "petal_width"), FLOWER, strict=True)))
    path = "/v2/models/iris_estimator/infer"
    with ExitStack() as stack:
        servers: dict[str, Service] = {}
        for name, role in named.items():
            trusted = {"TRUSTED_TYPES": TRUSTED} if role == ESTIMATOR_ROLE else {}
            servers[name] = stack.enter_context(started(role, {"MODEL": "iris_estimator", **trusted}))
        asked = (("/classify", item.encode()), (path, infer_body(1)), (path, infer_body(1000)))
        columns = [
            medians({name: partial(one.post, where, body) for name, one in servers.items()}, 100)
            for where, body in asked
        ]
        rows = [["", "/classify, one flower", "/v2, one row", "/v2, 1000 rows", "memory"]]
        for name, server in servers.items():
            rows.append([name, *(f"{found[name]:.1f} ms" for found in columns), f"{server.megabytes():.0f} MB"])
        print(aligned(rows))


@dataclass(frozen=True)
class Remedy:
    """Settings that make a page take less time."""

    name: str
    settings: Mapping[str, str]


def _models(recognition: str) -> dict[str, str]:
    return {"MODEL": f"page_orientation,text_detection,{recognition},{HEAVY}"}


REMEDIES = (
    Remedy("none: the heavy model reads every line", {**_models(LIGHT), "READ_AGAIN_BELOW": "1"}),
    Remedy("as delivered: lighter model first, heavy < 0.95", _models(LIGHT)),
    Remedy("a lower threshold, READ_AGAIN_BELOW=0.9", {**_models(LIGHT), "READ_AGAIN_BELOW": "0.9"}),
    Remedy("the lighter model alone, READ_AGAIN_BELOW=0", {**_models(LIGHT), "READ_AGAIN_BELOW": "0"}),
    Remedy("as delivered, INTRA_OP_THREADS=2", {**_models(LIGHT), "INTRA_OP_THREADS": "2"}),
)


def remedies() -> None:
    """What each remedy for latency brings for two pages, and what it costs in lines that are read right."""
    pages = {name: (SAMPLES / f"{name}.jpg").read_bytes() for name in ("invoice", "invoice_blurry")}
    truth = set(json.loads((SAMPLES / "invoice.json").read_bytes())["lines"])
    with ExitStack() as stack:
        servers = {one.name: stack.enter_context(started(SERIAL_ROLE, one.settings)) for one in REMEDIES}
        right = {
            name: [len(truth & {line["text"] for line in _read(server, page)["lines"]}) for page in pages.values()]
            for name, server in servers.items()
        }
        times = [
            medians({name: partial(_read, one, page) for name, one in servers.items()}, 7) for page in pages.values()
        ]
    rows = [["", "sharp invoice", "blurry copy", f"right of {len(truth)} lines: sharp", "blurry"]]
    for name in servers:
        rows.append([name, *(f"{found[name]:.0f} ms" for found in times), *map(str, right[name])])
    print(aligned(rows))


def _read(server: Service, page: bytes) -> Any:
    return server.post("/read", page, "image/jpeg")


TABLES = {"estimator": estimator, "remedies": remedies}

if __name__ == "__main__":
    TABLES[sys.argv[1]]()
