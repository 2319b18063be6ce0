"""The models that a service holds, in one or more versions: loaded, replaced and unloaded while the service runs.

A model is registered before it is loaded, so it is "not ready" rather than unknown. While a new version is opened,
checked and warmed up, the old version continues to serve. When the load fails, the old version stays.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from common.errors import NotFound, NotReady, shortened
from common.inference.batcher import Batcher
from common.inference.batching import BatcherMetrics, BatchPolicy
from common.inference.examples import example_request
from common.inference.manifest import WHEN_MISSING, Manifest, ModelLoadError, one_line, read_manifest
from common.inference.run_time import MAX_INLINE_ROWS, unbounded_reason
from common.inference.session import OnnxSession, Session, open_model
from common.inference.warm_up import WarmUpResult, warm_up
from common.observability.log import Log
from common.observability.metrics import InferenceMetrics
from common.protocol.tensors import TensorSpec

if TYPE_CHECKING:
    from common.inference.source import ModelSource

OpenModel = Callable[[Path, int], tuple[Manifest, Session]]
State = Literal["LOADING", "READY", "UNAVAILABLE", "UNLOADED"]


class LoadedModel:
    """One version of one model, ready for inference."""

    def __init__(self, manifest: Manifest, batcher: Batcher, warm: WarmUpResult) -> None:
        self.manifest, self.batcher, self.warm = manifest, batcher, warm
        self.name, self.version = manifest.name, manifest.version
        self.inputs: list[TensorSpec] = manifest.input_specs()
        self.outputs: list[TensorSpec] = manifest.output_specs()
        self.output_names = [spec.name for spec in self.outputs]
        self.properties = manifest.properties()
        self.texts = [spec.name for spec in self.inputs if spec.datatype == "BYTES"]
        self.example = example_request(manifest)


@dataclass
class RegisteredModel:
    """A registered model: its loaded versions, the state of the last load, and the reason if that load failed."""

    state: State = "LOADING"
    reason: str = "not loaded yet"
    versions: dict[str, LoadedModel] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def newest(self) -> LoadedModel | None:
        """The loaded version with the highest number, or None."""
        if not self.versions:
            return None
        return self.versions[max(self.versions, key=int)]


@dataclass(frozen=True, slots=True)
class LoadPolicy:
    """How models are opened: ONNX Runtime threads for each run, and the limits of their batchers.

    The newest `keep` versions of a model are served; older ones are closed. `wrap`, if given, wraps each session;
    fault injection uses it. `requests_starting`: see Batcher. `open` reads the files of a version.
    """

    threads: int
    batching: BatchPolicy
    keep: int = 1
    wrap: Callable[[Session], Session] | None = None
    requests_starting: Callable[[], int] | None = None
    open: OpenModel = open_model


class ModelRepository:
    """The models under a folder `<root>/<name>/<version>/{model.onnx,model.yaml}`, by name and version."""

    def __init__(
        self, root: Path, policy: LoadPolicy, metrics: InferenceMetrics, log: Log, source: ModelSource | None = None
    ) -> None:
        self.root = root
        self._source = source
        self._policy, self._metrics, self._log = policy, metrics, log
        self._entries: dict[str, RegisteredModel] = {}
        self._required: list[str] = []
        self._closing: set[asyncio.Task[None]] = set()

    def register(self, name: str) -> None:
        """Makes a model known before it is loaded. The service is ready once all registered models are loaded."""
        self._entries.setdefault(name, RegisteredModel())
        self._required.append(name)

    def required(self) -> Iterable[tuple[str, RegisteredModel]]:
        """The models that this service was started with, except those that have since been unloaded over the API."""
        return ((name, entry) for name in self._required if (entry := self._entries[name]).state != "UNLOADED")

    def get(self, name: str, version: str | None = None) -> LoadedModel:
        """The given version of a model; the newest if none is given. Raises NotFound, or NotReady with the reason."""
        entry = self._entries.get(name)
        if entry is None:
            names = ", ".join(self._entries) or "none"
            raise NotFound(f"model {shortened(name)} is not served here; the models are: {names}")
        if version and entry.versions:
            if version not in entry.versions:
                asked, served = shortened(version), ", ".join(entry.versions)
                raise NotFound(f"version {asked} of model {name!r} is not served here; the versions are: {served}")
            return entry.versions[version]
        newest = entry.newest()
        if newest is None:
            raise NotReady(f"model {name!r} is not ready: {entry.reason}", retry_after=1)
        return newest

    def entries(self) -> Mapping[str, RegisteredModel]:
        return self._entries

    def loaded(self) -> Iterable[LoadedModel]:
        return (model for entry in self._entries.values() for model in entry.versions.values())

    def available(self) -> list[tuple[str, str]]:
        """The names and versions in the folder, loaded or not."""
        folders = [path.parent for path in self.root.glob("*/*/model.yaml") if path.parent.name.isdecimal()]
        folders.sort(key=lambda folder: (folder.parent.name, int(folder.name)))
        return [(folder.parent.name, folder.name) for folder in folders]

    async def load(self, name: str) -> None:
        """Loads the newest versions in the folder, at most `keep` of them. Versions that are loaded already stay.

        Raises NotFound for an unknown model, and ModelLoadError for a version that cannot be served. After an error
        the versions that were served before are still served.
        """
        if name not in self._entries and not any(name == known for known, _ in self.available()):
            raise NotFound(f"there is no model {shortened(name)} in the repository; expected NAME/1/model.yaml there")
        entry = self._entries.setdefault(name, RegisteredModel())
        async with entry.lock:
            if not entry.versions and entry.state != "UNAVAILABLE":
                entry.state, entry.reason = "LOADING", "loading"
            try:
                if self._source is not None:
                    await asyncio.to_thread(self._source.fetch, name, self.root)
                await self._load_newest(name, entry)
            except ModelLoadError as error:
                self._load_failed(name, entry, error.detail)
                raise
            except Exception as error:  # a library may raise any class of exception for a damaged file
                failure = ModelLoadError(f"model {name!r}: {type(error).__name__}: {one_line(error)}")
                self._load_failed(name, entry, failure.detail)
                raise failure from None
            entry.reason = ""

    async def _load_newest(self, name: str, entry: RegisteredModel) -> None:
        failure: ModelLoadError | None = None
        opened = []
        for folder in await asyncio.to_thread(self._newest_folders, name):
            try:
                opened.append(await asyncio.to_thread(self._open, name, folder, entry.versions.get(folder.name)))
            except ModelLoadError as error:
                failure = error  # the other versions are still loaded
        for loaded in opened:  # without an await: all of them become visible to requests at the same moment
            self._activate(entry, loaded)
        if failure is not None:
            raise failure

    def _load_failed(self, name: str, entry: RegisteredModel, reason: str) -> None:
        newest = entry.newest()
        entry.state = "READY" if newest else "UNAVAILABLE"
        if entry.reason != reason:
            self._log.error("model not loaded", model=name, reason=reason, still_serving=newest and newest.version)
        entry.reason = reason

    async def unload(self, name: str) -> None:
        """Stops serving a model. Requests that were accepted before are answered. Raises NotFound."""
        entry = self._entries.get(name)
        if entry is None:
            names = ", ".join(self._entries) or "none"
            raise NotFound(f"model {shortened(name)} is not served here; the models are: {names}")
        async with entry.lock:
            for loaded in entry.versions.values():
                self._close_version(loaded)
            entry.versions = {}
            entry.state, entry.reason = "UNLOADED", "unloaded over the API"

    @asynccontextmanager
    async def open(self, names: Iterable[str], retry_seconds: float = 5.0) -> AsyncIterator[None]:
        """Registers models, loads them in the background, retries every `retry_seconds`, and closes all at the end."""
        tasks = []
        for name in names:
            self.register(name)
            tasks.append(asyncio.create_task(self._load_until_ready(name, retry_seconds)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(loaded.batcher.close() for loaded in self.loaded()), *self._closing)

    async def _load_until_ready(self, name: str, retry_seconds: float) -> None:
        entry = self._entries[name]
        while not entry.versions and entry.state != "UNLOADED":
            try:
                await self.load(name)
            except ModelLoadError:  # load() has logged it; a file may still be being copied, so it is tried again
                await asyncio.sleep(retry_seconds)

    def _open(self, name: str, folder: Path, loaded: LoadedModel | None) -> LoadedModel:
        """Opens and warms up the version in a folder; returns `loaded` unchanged if its manifest is the same."""
        if loaded is not None and read_manifest(folder / "model.yaml") == loaded.manifest:
            return loaded
        manifest, session = self._policy.open(folder, self._policy.threads)
        if (manifest.name, manifest.version) != (name, folder.name):
            raise ModelLoadError(
                f"{folder / 'model.yaml'}: states model {manifest.name!r} version {manifest.version!r}, "
                f"but its folder is {name}/{folder.name}"
            )
        try:
            warm = warm_up(session, manifest)
        except ModelLoadError as error:
            raise ModelLoadError(f"{folder}: {error.detail}") from None
        if warm.warning is not None:
            self._log.warning("warm-up run failed", model=name, version=folder.name, reason=warm.warning)
        return LoadedModel(manifest, self._batcher(manifest, session, warm), warm)

    def _batcher(self, manifest: Manifest, session: Session, warm: WarmUpResult) -> Batcher:
        inputs, policy = manifest.input_specs(), self._policy.batching
        if warm.unbatched_reason is not None:
            policy = BatchPolicy(1, policy.queue)
        # the time of a run does not bound the next one's unless the graph does; a wrapped session is not the graph
        facts = session.facts if isinstance(session, OnnxSession) else None
        bounded = facts is not None and unbounded_reason(facts, inputs) is None
        return Batcher(
            session if self._policy.wrap is None else self._policy.wrap(session),
            warm.cost,
            policy,
            self._batcher_metrics(manifest),
            f"{manifest.name}-{manifest.version}",
            uniform=all(spec.row is not None for spec in inputs),
            requests_starting=self._policy.requests_starting,
            inline_rows=MAX_INLINE_ROWS if bounded and self._policy.wrap is None else 0,
        )

    def _newest_folders(self, name: str) -> list[Path]:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name) or name.startswith("."):
            raise ModelLoadError(
                f"{name!r} is not a valid model name: expected up to 100 letters, digits, '_', '-' and '.', "
                "and no '.' at the start"
            )
        versions = [path for path in self.root.glob(f"{name}/*") if path.name.isdecimal() and path.is_dir()]
        if not versions:
            raise ModelLoadError(
                f"{self.root / name}: there is no folder with a version such as 1; {WHEN_MISSING}, or set MODEL_URI"
            )
        return sorted(versions, key=lambda path: int(path.name))[-self._policy.keep :]

    def _batcher_metrics(self, manifest: Manifest) -> BatcherMetrics:
        metrics = self._metrics
        return BatcherMetrics(
            metrics.batch_size.labelled(manifest.name),
            metrics.queue_wait.labelled(manifest.name),
            metrics.seconds.labelled(manifest.name, manifest.version, "infer"),
            metrics.rejected.labelled("queue_full"),
            metrics.cancelled.labelled("queue"),
        )

    def _activate(self, entry: RegisteredModel, loaded: LoadedModel) -> None:
        """Starts to serve a version. Closes an earlier load of it, and the oldest versions beyond `keep`."""
        previous = entry.versions.get(loaded.version)
        if previous is loaded:
            return
        entry.versions[loaded.version] = loaded
        entry.state = "READY"
        if previous is not None:
            self._close_version(previous)
        while len(entry.versions) > self._policy.keep:
            self._close_version(entry.versions.pop(min(entry.versions, key=int)))
        self._log.info(
            "model ready",
            model=loaded.name,
            version=loaded.version,
            sha256=loaded.manifest.sha256,
            run_milliseconds=round(loaded.warm.cost.first_row * 1e3, 3),
            batching=loaded.warm.unbatched_reason or f"up to {self._policy.batching.max_rows} rows",
        )

    def _close_version(self, loaded: LoadedModel) -> None:
        """Closes a version in the background, after it has answered the requests that it had accepted."""
        task = asyncio.create_task(loaded.batcher.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
