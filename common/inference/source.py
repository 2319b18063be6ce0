"""Downloads a model from a URI (file, http, s3, gs, az) and checks that it is complete.

`MODEL_URI` names the folder of a version. Its model.yaml is downloaded first and states the sha256 of the model's
files: model.onnx and files with further weights (`external_data`), unless a role has models of another format. All are
moved into the repository only when each sha256 matches.
`MODEL_MANIFEST_SHA256` pins model.yaml, and with it the other files.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from common.inference.manifest import Manifest, ModelLoadError, one_line, parse_manifest

MAX_MANIFEST_BYTES = 4_000_000
SCHEMES = ("file", "http", "https", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl")  # of object_store
_PANICS = "pyo3_runtime"  # what obstore raises for a URL that is none; it is no Exception
ModelFiles = Callable[[Manifest], Mapping[str, str]]


def check_uri(uri: str) -> None:
    """Raises ValueError, without the URI, which may hold secrets, for one that no store understands."""
    scheme, given, _ = uri.partition("://")
    if not given or scheme.lower() not in SCHEMES:
        found = f"got {scheme!r}" if given and scheme.isalnum() and len(scheme) < 10 else "got none of these"
        raise ValueError(f"expected a URL that begins with {', '.join(SCHEMES[:6])} and ://, {found}")


class ModelSource:
    """The folder of a version at a URI. Credentials come from the environment variables of the object store's tools.

    `files` names the files of a model, each with its sha256.
    """

    def __init__(
        self,
        uri: str,
        manifest_sha256: str = "",
        *,
        files: ModelFiles = Manifest.files,
        timeout_seconds: float = 60.0,
        retries: int = 5,
    ) -> None:
        self._uri, self._files = uri.rstrip("/"), files
        self._pinned = manifest_sha256.lower().removeprefix("sha256:")
        self._timeout, self._retries = timedelta(seconds=timeout_seconds), retries

    def fetch(self, name: str, root: Path) -> None:
        """Downloads the model to `<root>/<name>/<version>/` unless that folder has it already. Blocks.

        Raises ModelLoadError when it cannot be downloaded, is another model, or has another sha256.
        """
        try:
            store = self._open()
            text = self._manifest(store)
            manifest = parse_manifest(text.decode(), f"{self._uri}/model.yaml")
            if manifest.name != name:
                raise ModelLoadError(f"{self._uri}: contains the model {manifest.name!r}, but MODEL is {name!r}")
            folder, files = root / name / manifest.version, self._files(manifest)
            if not all((folder / file).exists() for file in files):
                self._download(store, text, files, folder)
        except (BaseError, OSError, ValueError) as error:
            raise ModelLoadError(f"{self._uri}: the download failed: {_reason(error)}") from None
        except BaseException as error:
            if type(error).__module__ != _PANICS:
                raise
            raise ModelLoadError(
                f"{self._uri}: the store's client cannot use its settings: {one_line(error, 300)}; "
                "expected URLs such as AWS_ENDPOINT_URL=http://store:9000"
            ) from None

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
        response = obstore.get(store, "model.yaml")
        size = response.meta["size"]
        if size > MAX_MANIFEST_BYTES:
            raise ModelLoadError(
                f"{self._uri}/model.yaml: has {size} bytes, but a manifest may have at most {MAX_MANIFEST_BYTES}"
            )
        text = bytes(response.bytes())
        found = hashlib.sha256(text).hexdigest()
        if self._pinned and found != self._pinned:
            raise ModelLoadError(
                f"{self._uri}/model.yaml: sha256 is {found[:12]}…, but MODEL_MANIFEST_SHA256 is {self._pinned[:12]}…"
            )
        return text

    def _download(self, store: ObjectStore, text: bytes, files: Mapping[str, str], folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".fetch-", dir=folder.parent))
        try:
            for name, sha256 in files.items():
                found = _stream_to_file(store, name, part / name)
                if found != sha256:
                    raise ModelLoadError(
                        f"{self._uri}/{name}: sha256 is {found[:12]}…, but model.yaml says {sha256[:12]}…"
                    )
            (part / "model.yaml").write_bytes(text)
            part.chmod(0o755)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _reason(error: BaseException) -> str:
    """The store's error without the structures of its library, but with the operating system's words among them."""
    text, _, structures = " ".join(str(error).split()).partition(" Debug source:")
    causes = re.findall(r'(?:message|error): "([^"]+)"', structures)
    text = re.sub(
        r" in [\d.]+\w+, after (\d+) retries, max_retries: \d+, retry_timeout: \w+", r", retried \1 times", text
    )
    return f"{text[:300]}: {causes[-1]}" if causes and causes[-1] not in text else text[:300]


def _stream_to_file(store: ObjectStore, name: str, to: Path) -> str:
    """Downloads a file. Returns its sha256 in hexadecimal."""
    digest = hashlib.sha256()
    response = obstore.get(store, name)
    with to.open("wb") as file:
        for chunk in response.stream():
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()
