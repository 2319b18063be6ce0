"""Measurements of synchronous: classifying a large photo, against the same work in one process without a server."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from PIL import Image

from bench.contestants import ALONE, in_process, over_http, refuse_other_outputs
from bench.measure import Contestant
from bench.messages import IRIS_HIGH, IRIS_LOW, SEED, http_request, post
from bench.process import BenchError, Server, ServerGroup
from bench.report import Number, Part, Setting
from bench.rivals.classify_alone import Classifier
from bench.rivals.ort_alone import expected_outputs
from bench.rivals.sklearn_alone import fitted
from bench.suite import Bench, PartRunner, Parts, at_connections, times

SEPARATE, WHOLE = "ours", "ours, all in one artefact"
IN_PROCESS, SKLEARN = "the same in one process, no server", "scikit-learn alone"
MODEL, WHOLE_MODEL, TABLE_MODEL = "imagenet_lite0", "imagenet_lite0_end_to_end", "iris"
CONNECTIONS, TARGET = (1, 4), 0.85
PATH, HEADERS = "/classify", {"Content-Type": "image/jpeg"}
PHOTO, WIDTH, LEAST_BYTES = "chelsea.jpg", 1920, 500_000
ROWS = (1, 1000)


def large_photo(repository: Path) -> bytes:
    """A JPEG file of about 500 kB and 2.5 megapixels, the same in every run.

    It is a small photo, enlarged and saved in the lowest quality that reaches LEAST_BYTES.
    """
    with Image.open(repository / "photos" / PHOTO) as small:
        large = small.convert("RGB").resize(
            (WIDTH, round(small.height * WIDTH / small.width)), Image.Resampling.LANCZOS
        )
    for quality in range(75, 101):
        file = BytesIO()
        large.save(file, "JPEG", quality=quality)
        if file.tell() >= LEAST_BYTES:
            break
    return file.getvalue()


def classified(server: Server, photo: bytes) -> list[dict[str, Any]]:
    """A server's predictions."""
    with server.measured():
        predictions: list[dict[str, Any]] = orjson.loads(post(server.port, PATH, photo, HEADERS))["predictions"]
    return predictions


def check(servers: Mapping[str, Server], photo: bytes, expected: list[tuple[str, float]]) -> None:
    """Raise BenchError unless each server returns the same labels in the same order, with similar probabilities."""
    for name, server in servers.items():
        found = [(one["label"], one["probability"]) for one in classified(server, photo)]
        alike = [label for label, _ in found] == [label for label, _ in expected]
        if not alike or not np.allclose([sure for _, sure in found], [sure for _, sure in expected], atol=1e-3):
            raise BenchError(f"{name} says {found}, expected {expected}")


def over(name: str, group: ServerGroup, server: Server, photo: bytes, connections: int) -> Contestant:
    """A server under load with the photo."""
    return over_http(name, group, server, [http_request(PATH, photo, HEADERS)], connections)


def classify_part(bench: Bench) -> Part:
    """A 500 kB photo to POST /classify, against decoding, preprocessing and ONNX Runtime in one process."""
    model, photo = bench.model(MODEL), large_photo(bench.repository)
    folder = model.file.parent
    with bench.server_group() as group:
        server = bench.start(group, model)
        check({SEPARATE: server}, photo, Classifier(folder).classify(photo))
        rival = in_process(IN_PROCESS, group, ["bench.rivals.classify_alone", str(folder)], photo)
        settings = [bench.compare(many, [over(SEPARATE, group, server, photo, many), rival]) for many in CONNECTIONS]
    return Part("classify", "A photo of 500 kB to its labels", [served(one) for one in settings], settings)


def served(setting: Setting) -> Number:
    """Throughput with the server divided by throughput without."""
    text = f"500 kB JPEG, {at_connections(setting.connections)}: throughput against {IN_PROCESS}"
    return times(text, setting, SEPARATE, IN_PROCESS, TARGET)


def whole_part(bench: Bench) -> Part:
    """Preprocessing and label names inside the ONNX graph, against both outside."""
    photo = large_photo(bench.repository)
    with bench.server_group() as group:
        servers = {
            name: bench.start(group, bench.model(one)) for name, one in {SEPARATE: MODEL, WHOLE: WHOLE_MODEL}.items()
        }
        first, second = (classified(server, photo)[0]["label"] for server in servers.values())
        if first != second:
            raise BenchError(f"{SEPARATE} says {first}, {WHOLE} {second}")
        setting = bench.compare(1, [over(name, group, server, photo, 1) for name, server in servers.items()])
    return Part("whole", "Preprocessing inside the graph and outside", [], [setting])


def table_part(bench: Bench) -> Part:
    """The support vector machine for iris in scikit-learn and in ONNX Runtime, without a server."""
    model = bench.model(TABLE_MODEL)
    with bench.server_group() as group:
        parts = [table_rows(bench, group, str(model.file), count) for count in ROWS]
    return Part("table", "iris, scikit-learn and ONNX Runtime: one row, then a thousand", [], parts)


def table_rows(bench: Bench, group: ServerGroup, file: str, count: int) -> Setting:
    """Compare both with so many rows in one call."""
    rows = np.random.default_rng(SEED).uniform(IRIS_LOW, IRIS_HIGH, (count, 4)).astype(np.float32)
    expected = {"probabilities": expected_outputs(file, rows)["probabilities"]}
    refuse_other_outputs(SKLEARN, {"probabilities": fitted().predict_proba(rows).ravel()}, expected)
    modules = {SKLEARN: ["bench.rivals.sklearn_alone"], ALONE: ["bench.rivals.ort_alone", file]}
    contestants = [in_process(name, group, module, rows.tobytes()) for name, module in modules.items()]
    named = [Contestant(f"{one.name}, {count} row{'s' * (count > 1)}", one.turn) for one in contestants]
    return bench.compare(1, named)


PARTS: Parts = {
    "classify": PartRunner(classify_part, lambda pace: len(CONNECTIONS) * 2 * pace.rounds),
    "whole": PartRunner(whole_part, lambda pace: 2 * pace.rounds),
    "table": PartRunner(table_part, lambda pace: len(ROWS) * 2 * pace.rounds),
}
