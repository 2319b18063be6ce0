"""The models that a service holds: several, in several versions, loaded, swapped and unloaded while it serves.

A model is registered before it is loaded, so it is "not ready" rather than unknown. The new version is opened, checked
and warmed beside the old one, which goes on answering; a load that fails leaves the old one in place and says why.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from common.errors import NotFound, NotReady
from common.inference.batcher import INLINE_SECONDS, Batcher
from common.inference.batching import BatcherMetrics, BatchPolicy
from common.inference.manifest import Manifest, ModelLoadError, read_manifest
from common.inference.session import Session, WarmUpResult, open_model, warm_up
from common.observability.log import Log
from common.observability.metrics import InferenceMetrics
from common.protocol.tensors import TensorSpec

if TYPE_CHECKING:
    from common.inference.source import ModelSource

State = Literal["LOADING", "READY", "UNAVAILABLE", "UNLOADED"]


class LoadedModel:
    """One version of one model, ready to answer."""

    def __init__(self, manifest: Manifest, batcher: Batcher, warm: WarmUpResult) -> None:
        self.manifest, self.batcher, self.warm = manifest, batcher, warm
        self.name, self.version = manifest.name, manifest.version
        self.inputs: list[TensorSpec] = manifest.input_specs()
        self.outputs: list[TensorSpec] = manifest.output_specs()
        self.output_names = [spec.name for spec in self.outputs]
        self.properties = manifest.properties()
        self.example = manifest.example_request()


@dataclass
class Entry:
    """A registered model: its versions that answer, newest last, and how its last load went."""

    state: State = "LOADING"
    reason: str = "not loaded yet"
    versions: dict[str, LoadedModel] = field(default_factory=dict)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    def newest(self) -> LoadedModel | None:
        if len(self.versions) == 1:
            return next(iter(self.versions.values()))
        return self.versions[max(self.versions, key=int)] if self.versions else None


@dataclass(frozen=True, slots=True)
class LoadPolicy:
    """How models are opened. `keep` versions of a model answer side by side; the oldest beyond that is let go."""

    threads: int
    limits: BatchPolicy
    keep: int = 1
    wrap: Callable[[Session], Session] | None = None
    requests_starting: Callable[[], int] | None = None


class ModelRepository:
    """Models by name under a folder `<root>/<name>/<version>/{model.onnx,model.yaml}`."""

    def __init__(
        self, root: Path, policy: LoadPolicy, metrics: InferenceMetrics, log: Log, source: ModelSource | None = None
    ) -> None:
        self.root = root
        self._source = source
        self._policy, self._metrics, self._log = policy, metrics, log
        self._entries: dict[str, Entry] = {}
        self._required: list[str] = []
        self._closing: set[asyncio.Task[None]] = set()

    def register(self, name: str) -> None:
        """Makes a model known, not ready yet; the service is ready when all of these are."""
        self._entries.setdefault(name, Entry())
        self._required.append(name)

    def required(self) -> Iterable[tuple[str, Entry]]:
        """The models that this service was started for and that nobody has unloaded."""
        return ((name, entry) for name in self._required if (entry := self._entries[name]).state != "UNLOADED")

    def get(self, name: str, version: str | None = None) -> LoadedModel:
        """The version that answers (the newest unless one is asked for); NotFound or NotReady, saying which."""
        entry = self._entries.get(name)
        if entry is None:
            raise NotFound(f"model {name!r} is not served here; there is {', '.join(self._entries) or 'none'}")
        if version and entry.versions:
            if version not in entry.versions:
                there = ", ".join(entry.versions) or "none"
                raise NotFound(f"model {name!r} has no version {version!r} here; there is {there}")
            return entry.versions[version]
        newest = entry.newest()
        if newest is None:
            raise NotReady(f"model {name!r} is not ready: {entry.reason}", retry_after=1)
        return newest

    def entries(self) -> Mapping[str, Entry]:
        return self._entries

    def loaded(self) -> Iterable[LoadedModel]:
        return (one for entry in self._entries.values() for one in entry.versions.values())

    def available(self) -> list[tuple[str, str]]:
        """Names and versions in the folder, whether loaded or not."""
        found = (path.parent for path in self.root.glob("*/*/model.yaml") if path.parent.name.isdecimal())
        return sorted(((folder.parent.name, folder.name) for folder in found), key=lambda one: (one[0], int(one[1])))

    async def load(self, name: str) -> None:
        """Loads the newest versions in the folder, as many as are kept, and swaps in those that are not there already.

        Raises ModelLoadError for a version that cannot be served; whatever answered before goes on answering.
        """
        if name not in self._entries and not any(name == one for one, _ in self.available()):
            raise NotFound(f"there is no model {name!r} in {self.root}")
        entry = self._entries.setdefault(name, Entry())
        async with entry.busy:
            if not entry.versions and entry.state != "UNAVAILABLE":
                entry.state, entry.reason = "LOADING", "loading"
            try:
                if self._source is not None:
                    await asyncio.to_thread(self._source.fetch, name, self.root)
                await self._load_newest(name, entry)
            except Exception as error:  # a library may fail on a strange file in a way of its own
                broken = (
                    error
                    if isinstance(error, ModelLoadError)
                    else ModelLoadError(f"model {name!r}: {_one_line(error)}")
                )
                self._failed(name, entry, broken.detail)
                raise broken from None
            entry.reason = ""

    async def _load_newest(self, name: str, entry: Entry) -> None:
        broken: ModelLoadError | None = None
        opened = []
        for folder in await asyncio.to_thread(self._newest_folders, name):
            try:
                opened.append(await asyncio.to_thread(self._open, name, folder, entry.versions.get(folder.name)))
            except ModelLoadError as error:
                broken = error  # the other versions need not wait for it
        for loaded in opened:  # all in one turn of the loop: the newest never has to be waited for once one is there
            self._swap_in(entry, loaded)
        if broken is not None:
            raise broken

    def _failed(self, name: str, entry: Entry, reason: str) -> None:
        newest = entry.newest()
        entry.state = "READY" if newest else "UNAVAILABLE"
        if entry.reason != reason:
            still = newest.version if newest else None
            self._log.error("model not loaded", model=name, reason=reason, still_serving=still)
        entry.reason = reason

    async def unload(self, name: str) -> None:
        """Stops answering for a model; requests already accepted are answered."""
        entry = self._entries.get(name)
        if entry is None:
            raise NotFound(f"model {name!r} is not served here")
        async with entry.busy:
            for loaded in entry.versions.values():
                self._let_go(loaded)
            entry.versions = {}
            entry.state, entry.reason = "UNLOADED", "unloaded over the API"

    @asynccontextmanager
    async def open(self, names: Iterable[str], retry_seconds: float = 5.0) -> AsyncIterator[None]:
        """Registers models and loads them in the background, again and again until they load; closes all at the end."""
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
            except ModelLoadError:  # load() has logged it; a file that is still being copied may be whole next time
                await asyncio.sleep(retry_seconds)

    def _open(self, name: str, folder: Path, there: LoadedModel | None) -> LoadedModel:
        """The version in a folder; `there` again where it is that one already."""
        if there is not None and read_manifest(folder / "model.yaml") == there.manifest:
            return there
        manifest, onnx = open_model(folder, self._policy.threads)
        if (manifest.name, manifest.version) != (name, folder.name):
            raise ModelLoadError(
                f"{folder / 'model.yaml'}: says it is {manifest.name!r} version {manifest.version!r}, "
                f"but its folder says {name!r} version {folder.name!r}"
            )
        try:
            warm = warm_up(onnx, manifest)
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes here
            raise ModelLoadError(f"{folder / 'model.onnx'}: fails when it is run: {_one_line(error)}") from None
        limits = self._policy.limits
        if warm.alone is not None:
            limits = BatchPolicy(1, limits.queue)
        counts = self._counts(manifest)
        uniform = all(spec.row is not None for spec in manifest.input_specs())
        # what a fault adds to a run must not hold the event loop, nor a picture larger than the one it was timed with
        session = self._policy.wrap(onnx) if self._policy.wrap else onnx
        timed = session is onnx and not any(-1 in spec.shape[1:] for spec in manifest.input_specs())
        cost = warm.cost if timed else replace(warm.cost, fixed=max(warm.cost.fixed, 2 * INLINE_SECONDS))
        batcher = Batcher(
            session,
            cost,
            limits,
            counts,
            f"{name}-{manifest.version}",
            uniform=uniform,
            requests_starting=self._policy.requests_starting,
        )
        return LoadedModel(manifest, batcher, warm)

    def _newest_folders(self, name: str) -> list[Path]:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", name) or name.startswith("."):
            raise ModelLoadError(f"{name!r} is no model name")
        versions = [path for path in self.root.glob(f"{name}/*") if path.name.isdecimal() and path.is_dir()]
        if not versions:
            raise ModelLoadError(f"{self.root / name}: holds no version; build it with `make models`, or set MODEL_URI")
        return sorted(versions, key=lambda path: int(path.name))[-self._policy.keep :]

    def _counts(self, manifest: Manifest) -> BatcherMetrics:
        metrics = self._metrics
        return BatcherMetrics(
            metrics.batch_size.labelled(manifest.name),
            metrics.queue_wait.labelled(manifest.name),
            metrics.seconds.labelled(manifest.name, manifest.version, "infer"),
            metrics.rejected.labelled("queue_full"),
            metrics.cancelled.labelled("queue"),
        )

    def _swap_in(self, entry: Entry, loaded: LoadedModel) -> None:
        before = entry.versions.get(loaded.version)
        if before is loaded:
            return
        entry.versions[loaded.version] = loaded
        entry.state = "READY"
        if before is not None:
            self._let_go(before)
        while len(entry.versions) > self._policy.keep:
            self._let_go(entry.versions.pop(min(entry.versions, key=int)))
        self._log.info(
            "model ready",
            model=loaded.name,
            version=loaded.version,
            sha256=loaded.manifest.sha256,
            run_milliseconds=round(loaded.warm.cost.fixed * 1e3, 3),
            batching=loaded.warm.alone or f"up to {self._policy.limits.max_rows} rows",
        )

    def _let_go(self, loaded: LoadedModel) -> None:
        """Closes a version once it has answered what it had accepted."""
        task = asyncio.create_task(loaded.batcher.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
