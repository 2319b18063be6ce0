"""Fetches a model from where it is kept (file, http, s3, gs, az) and refuses one that is not whole.

`MODEL_URI` names a version's folder. Its model.yaml is fetched first and states the sha256 of model.onnx; the pair is
moved into the repository only when the bytes agree. Pinning the sha256 of model.yaml itself pins everything.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from common.inference.manifest import Manifest, ModelLoadError, parse_manifest

MAX_MANIFEST_BYTES = 4_000_000


class ModelSource:
    """A version's folder at a URI. Credentials come from the environment as the store's own tools read them."""

    def __init__(self, uri: str, manifest_sha256: str = "", *, timeout_seconds: float = 60.0, retries: int = 5) -> None:
        self._uri = uri.rstrip("/")
        self._pinned = manifest_sha256.lower().removeprefix("sha256:")
        self._timeout, self._retries = timedelta(seconds=timeout_seconds), retries

    def fetch(self, name: str, root: Path) -> None:
        """Brings the model to `<root>/<name>/<version>/` unless it is there. Blocks.

        Raises ModelLoadError, in one line, when it cannot.
        """
        try:
            store = self._open()
            text = self._manifest(store)
            manifest = parse_manifest(text.decode(), f"{self._uri}/model.yaml")
            if manifest.name != name:
                raise ModelLoadError(f"{self._uri}: holds the model {manifest.name!r}, but MODEL is {name!r}")
            folder = root / name / manifest.version
            if not (folder / "model.onnx").exists():
                self._bring(store, text, manifest, folder)
        except (BaseError, OSError, ValueError) as error:
            raise ModelLoadError(f"{self._uri}: cannot be fetched: {_one_line(error)}") from None

    def _open(self) -> ObjectStore:
        parts = urlsplit(self._uri)
        if parts.scheme == "file":
            return from_url(self._uri)
        return from_url(
            self._uri,
            client_options={"timeout": self._timeout, "connect_timeout": timedelta(seconds=5), "allow_http": True},
            retry_config={"max_retries": self._retries, "retry_timeout": self._timeout},
        )

    def _manifest(self, store: ObjectStore) -> bytes:
        answer = obstore.get(store, "model.yaml")
        if answer.meta["size"] > MAX_MANIFEST_BYTES:
            raise ModelLoadError(f"{self._uri}/model.yaml: is larger than {MAX_MANIFEST_BYTES} bytes")
        text = bytes(answer.bytes())
        found = hashlib.sha256(text).hexdigest()
        if self._pinned and found != self._pinned:
            raise ModelLoadError(
                f"{self._uri}/model.yaml: refused, its sha256 is {found[:12]}…, "
                f"but MODEL_MANIFEST_SHA256 asks for {self._pinned[:12]}…"
            )
        return text

    def _bring(self, store: ObjectStore, text: bytes, manifest: Manifest, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder.parent))
        try:
            found = _download(store, part / "model.onnx")
            if found != manifest.sha256:
                raise ModelLoadError(
                    f"{self._uri}/model.onnx: refused, its sha256 is {found[:12]}…, "
                    f"but model.yaml says {manifest.sha256[:12]}…"
                )
            (part / "model.yaml").write_bytes(text)
            part.chmod(0o755)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _download(store: ObjectStore, to: Path) -> str:
    """Streams model.onnx to a file; its sha256."""
    digest = hashlib.sha256()
    answer = obstore.get(store, "model.onnx")
    with to.open("wb") as file:
        for chunk in answer.stream():
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
