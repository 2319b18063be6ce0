"""A model is fetched whole, from a folder, a web server or a bucket, or refused without a trace in the repository."""

from __future__ import annotations

import hashlib
import http.server
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import obstore
import pytest
import yaml
from moto.server import ThreadedMotoServer
from obstore.store import S3Store
from pydantic import ValidationError

from common.inference.manifest import ModelLoadError
from common.inference.source import ModelSource
from common.roles.predictor import Settings
from tests.models.refused import WEIGHTS, external
from tests.unit.common.inference import tiny_models as tiny

FILES = ["model.onnx", "model.yaml"]


class Shop(http.server.ThreadingHTTPServer):
    """A web server over a folder: busy for the first `busy` requests; cuts model.onnx short where `cuts` is set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.busy, self.cuts, self.asked = 0, False, list[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/tiny/1"


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.busy:
            self.server.busy -= 1
            self.send_error(503)
        elif self.server.cuts and self.path.endswith(".onnx"):
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(bytes(50))
        else:
            super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test says what matters."""


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The version's folder, where its builder put it."""
    return tiny.write(tmp_path / "made", tiny.total())


@pytest.fixture
def shop(made: Path) -> Iterator[Shop]:
    with Shop(made.parents[1]) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "repository"


def contents(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) if root.exists() else []


def refusal(source: ModelSource, root: Path, name: str = "tiny") -> str:
    with pytest.raises(ModelLoadError) as caught:
        source.fetch(name, root)
    assert "\n" not in caught.value.detail
    assert not contents(root), "nothing half-fetched remains"
    return caught.value.detail


def is_there(root: Path, made: Path) -> None:
    assert contents(root) == [f"tiny/1/{name}" for name in FILES]
    for name in FILES:
        assert (root / "tiny/1" / name).read_bytes() == (made / name).read_bytes()


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_model_comes_from_a_folder(made: Path, root: Path, ending: str) -> None:
    ModelSource(made.as_uri() + ending).fetch("tiny", root)
    is_there(root, made)


def test_a_folder_may_have_a_space_in_its_name(tmp_path: Path, root: Path) -> None:
    made = tiny.write(tmp_path / "with space", tiny.total())
    ModelSource(made.as_uri()).fetch("tiny", root)
    is_there(root, made)


def test_a_model_comes_from_a_web_server_that_is_busy_at_first(shop: Shop, made: Path, root: Path) -> None:
    shop.busy = 2
    ModelSource(shop.url).fetch("tiny", root)
    is_there(root, made)
    assert len(shop.asked) == 4


def test_a_model_comes_from_a_bucket(made: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "key", "REGION": "us-east-1",
                            "SECRET_ACCESS_KEY": "secret", "ALLOW_HTTP": "true"}.items():  # fmt: skip
            monkeypatch.setenv(f"AWS_{name}", value)
        _fill(made, f"http://{host}:{port}")
        ModelSource("s3://models/tiny/1").fetch("tiny", root)
    finally:
        server.stop()
    is_there(root, made)


@pytest.mark.parametrize("endpoint", ["store:9000", "http://:9000"])
def test_an_address_of_the_store_that_is_none_is_a_reason(
    root: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    for name, value in {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    assert "expected URLs such as AWS_ENDPOINT_URL=http://store:9000" in refusal(ModelSource("s3://models/1"), root)


def _fill(made: Path, endpoint: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/models", method="PUT")):
        store = S3Store("models", endpoint=endpoint, client_options={"allow_http": True})
    for name in FILES:
        obstore.put(store, f"tiny/1/{name}", made / name)


def test_what_is_there_already_is_not_fetched_again(shop: Shop, root: Path) -> None:
    for _ in range(2):
        ModelSource(shop.url).fetch("tiny", root)
    assert [Path(path).name for path in shop.asked] == ["model.yaml", "model.onnx", "model.yaml"]


def test_other_bytes_than_the_manifest_states_are_refused(made: Path, root: Path) -> None:
    (made / "model.onnx").write_bytes(b"something else")
    assert "model.onnx: sha256 is" in refusal(ModelSource(made.as_uri()), root)


def test_a_pinned_manifest_is_taken_and_any_other_refused(made: Path, root: Path) -> None:
    pin = hashlib.sha256((made / "model.yaml").read_bytes()).hexdigest()
    assert "but MODEL_MANIFEST_SHA256 is 000000000000…" in refusal(ModelSource(made.as_uri(), "0" * 64), root)
    for form in (pin, f"sha256:{pin}", pin.upper()):
        ModelSource(made.as_uri(), form).fetch("tiny", root)
    is_there(root, made)


def test_a_download_that_is_cut_short_is_refused(shop: Shop, root: Path) -> None:
    shop.cuts = True
    assert f"{shop.url}" in refusal(ModelSource(shop.url, timeout_seconds=2, retries=1), root)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(shop: Shop, made: Path, root: Path, name: str) -> None:
    (made / name).unlink()
    assert name in refusal(ModelSource(shop.url), root)
    assert name in refusal(ModelSource(made.as_uri()), root)


@pytest.mark.parametrize(
    "uri",
    ["file:///there/is/no/such/folder", "http://127.0.0.1:9/tiny/1", "ftp://host/tiny", "tiny/1", "http://", "s3://"],
)
def test_an_invalid_model_source_is_refused_in_one_line(uri: str, root: Path) -> None:
    reason = refusal(ModelSource(uri, timeout_seconds=0.5, retries=0), root)
    assert uri.rstrip("/") in reason
    assert "{" not in reason
    assert len(reason) < 500


@pytest.mark.parametrize("uri", ["ftp://user:t0ken@host/tiny?x=t0ken", "http//user:t0ken@host/tiny", "t0ken"])
def test_a_url_that_no_store_takes_is_refused_at_the_start_and_not_repeated(uri: str) -> None:
    with pytest.raises(ValidationError, match="expected a URL that begins with file, http, https, s3") as caught:
        Settings.model_validate({"model_uri": uri})
    assert "t0ken" not in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "other"}, "contains the model 'other', but MODEL is 'tiny'"),
        ({"version": "../../1"}, "version: found '../../1', expected a number in quotes"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(made: Path, root: Path, changes: dict[str, str], reason: str) -> None:
    text = yaml.safe_load((made / "model.yaml").read_text()) | changes
    (made / "model.yaml").write_text(yaml.safe_dump(text))
    assert reason in refusal(ModelSource(made.as_uri()), root)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\xff\xfe\x00", "the download failed"),
        (b"#" * 4_000_001, "has 4000001 bytes, but a manifest may have at most"),
    ],
)
def test_an_invalid_manifest_is_refused(made: Path, root: Path, text: bytes, reason: str) -> None:
    (made / "model.yaml").write_bytes(text)
    assert reason in refusal(ModelSource(made.as_uri()), root)


def test_the_files_with_further_weights_are_fetched_and_checked(tmp_path: Path, root: Path) -> None:
    folder = external("tiny").write(tmp_path / "made")
    ModelSource(folder.as_uri()).fetch("tiny", root)
    assert (root / "tiny" / "1" / "model.onnx.data").read_bytes() == WEIGHTS
    for content in (b"12345678", None):
        (folder / "model.onnx.data").unlink() if content is None else (folder / "model.onnx.data").write_bytes(content)
        with pytest.raises(ModelLoadError, match=r"model\.onnx\.data"):
            ModelSource(folder.as_uri()).fetch("tiny", tmp_path / "other")
