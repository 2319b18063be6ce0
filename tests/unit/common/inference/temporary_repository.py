"""A repository over a folder of its own, to fill with tiny models and ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common.inference.batching import BatchPolicy
from common.inference.faults import Faults, FaultSwitch
from common.inference.repository import LoadPolicy, ModelRepository
from common.observability.metrics import InferenceMetrics, Metrics
from common.request.deadline import Deadline
from tests.unit.common.inference import tiny_models as tiny
from tests.unit.common.inference.fake_sessions import rows
from tests.unit.common.observability.captured_log import CapturedLog
from tests.unit.common.polling import until


class TemporaryRepository:
    """A repository, its metrics and its log; with `faults`, its runs can be held."""

    def __init__(self, root: Path, *, keep: int = 1, queue: int = 1000, faults: bool = False) -> None:
        self.root, self.logged, self.metrics = root, CapturedLog(), Metrics()
        self._switch = FaultSwitch()
        policy = LoadPolicy(
            threads=1, batching=BatchPolicy(64, queue), keep=keep, wrap=self._switch.wrap if faults else None
        )
        self.inference_metrics = InferenceMetrics(self.metrics)
        self.models = ModelRepository(root, policy, self.inference_metrics, self.logged.logs.log)

    def put(self, version: str, factor: float, name: str = "tiny") -> Path:
        return tiny.write(self.root, tiny.total(factor), name, version)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """No run of a model ends while inside."""
        self._switch.set(Faults(hang=True))
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Lets the runs that are held end."""
        self._switch.set(Faults())

    async def running(self) -> None:
        """Returns once a run is under way in a thread."""
        await until(lambda: any(one.batcher.running_for for one in self.models.loaded()), "a run")

    async def ask(self, version: str | None = None, name: str = "tiny") -> tuple[str, float]:
        """The version that answered, and what it made of a row of ones: its factor, twice."""
        loaded = self.models.get(name, version)
        answer = await loaded.batcher.submit(rows(1), 1, Deadline.after(30))
        return loaded.version, float(answer.outputs[0][0])

    @asynccontextmanager
    async def open(self, *names: str, retry_seconds: float = 0.01) -> AsyncIterator[None]:
        """Serves while inside, once all are ready."""
        async with self.models.open(names, retry_seconds):
            await until(lambda: all(entry.versions for _, entry in self.models.required()), "the models")
            yield
