"""The local runtime: each service is a detached process; their state is in a file below `.run/`."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from runtimes import instances, logtail, probes, processes, state_file
from runtimes.base import (
    GRPC,
    ServiceStatus,
    Stack,
    StackOptions,
    origin,
    print_progress,
    warn_of_open_entry,
    with_free_ports,
)
from runtimes.errors import CommandFailed, ServiceExited, StackNotReady, StackNotRunning, UnknownName
from runtimes.load_failures import LoadWatch
from runtimes.ports import in_url
from runtimes.state_file import Record

_POLL_SECONDS = 0.05


class LocalStack(Stack):
    """A stack of local processes. A process that ends is not restarted, so that tests can observe it."""

    runtime = "local"

    def __init__(self, options: StackOptions) -> None:
        super().__init__(options)
        self._root = options.directory.parent.resolve()
        self._folder = self._root / ".run" / self.name
        self._state = self._folder / "state.json"

    def up(self, timeout_seconds: float = 120) -> str:
        self.options.compose_file()
        self.replace()
        self.options = with_free_ports(self.options)
        file = self.options.compose_file()
        self.build()
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            planned = instances.plan(file, self._folder, self.options.replicas)
            self._launch_all([Record(one, self._folder / f"{one.name}.log") for one in planned], timeout_seconds)
        except BaseException:
            self.down()
            raise
        return self.url()

    def build(self) -> None:
        if names := instances.models(self.options.compose_file()):
            _build_models(self._root, *names)

    def down(self) -> None:
        for record in reversed(state_file.load(self._state)):
            if record.process:
                processes.terminate(record.process, record.instance.grace_seconds)
        shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty if another stack is running
            self._folder.parent.rmdir()

    def is_up(self) -> bool:
        return bool(state_file.load(self._state))

    def origin(self) -> str:
        found = (one.instance for one in state_file.load(self._state) if one.instance.published)
        return origin(self._root, self._root, next((one.environment.get("MODEL", "") for one in found), ""))

    def replicas(self, service: str | None = None) -> list[str]:
        found = self._records(service)
        running = [one for one in found if one.process and processes.state_of(one.process).state != "ended"]
        return [_url(record) for record in running or found]

    def grpc(self, service: str | None = None) -> str:
        one = self._records(service)[0].instance
        return f"{in_url(one.host)}:{one.ports[GRPC]}"

    def stop(self, service: str) -> None:
        for record in self._running(service):
            processes.terminate(record, self._records(service)[0].instance.grace_seconds)

    def signal(self, service: str, signum: int) -> None:
        for process in self._running(service):
            processes.send_signal(process, signum)

    def kill(self, service: str) -> None:
        for process in self._running(service):
            processes.kill(process)

    def start(self, service: str, timeout_seconds: float = 60, wait: bool = True) -> None:
        known = state_file.load(self._state)
        chosen = [record.instance.name for record in self._records(service)]
        for record in known:
            if record.instance.name in chosen and _process_state(record).state == "ended":
                self._launch(record)
        state_file.save(self._state, known)
        if wait:
            awaited = [one for one in known if one.instance.name in chosen]
            self._wait_ready(awaited, timeout_seconds, LoadWatch(print_progress))

    def freeze(self, service: str) -> None:
        for process in self._running(service):
            processes.signal_session(process, signal.SIGSTOP)

    def thaw(self, service: str) -> None:
        for process in self._running(service):
            processes.signal_session(process, signal.SIGCONT)

    def logs(self, service: str | None = None, follow: bool = False) -> Iterator[str]:
        shown = self._records(service) if service else self._all()
        keep_following: Callable[[], bool] = self._state.exists if follow else lambda: False
        return logtail.lines({record.instance.name: record.log for record in shown}, keep_following)

    def status(self) -> list[ServiceStatus]:
        return [_status(record) for record in state_file.load(self._state)]

    def _all(self) -> list[Record]:
        found = state_file.load(self._state)
        if not found:
            raise StackNotRunning(self.name, self.options.pattern)
        return found

    def _records(self, service: str | None) -> list[Record]:
        """The records of a service or of one replica; None: of the entry."""
        known = self._all()
        if service is None:
            return [record for record in known if record.instance.published]
        found = [record for record in known if service in (record.instance.service, record.instance.name)]
        if not found:
            raise UnknownName("service", service, [record.instance.name for record in known])
        return found

    def _running(self, service: str) -> list[processes.Process]:
        return [record.process for record in self._records(service) if record.process]

    def _launch_all(self, started: list[Record], timeout_seconds: float) -> None:
        deadline, watch = time.monotonic() + timeout_seconds, LoadWatch(print_progress)
        for record in started:
            awaited = [other for other in started if other.instance.service in record.instance.waits_for]
            self._wait_ready(awaited, deadline - time.monotonic(), watch)
            self._launch(record)
            state_file.save(self._state, [one for one in started if one.process])
        self._wait_ready(started, deadline - time.monotonic(), watch)
        warn_of_open_entry(self.options)
        print_progress(f"{self.name} is ready, with {', '.join(record.instance.name for record in started)}")

    def _launch(self, record: Record) -> None:
        one = record.instance
        try:
            record.process = processes.launch(one.command, one.environment, self._root, record.log)
        except OSError as error:
            raise ServiceExited(one.name, f"could not be started ({error})", "") from error
        record.since = time.time()

    def _wait_ready(self, awaited: list[Record], timeout_seconds: float, watch: LoadWatch) -> None:
        deadline = time.monotonic() + timeout_seconds
        for record in awaited:
            while (reason := _probe(record)) != probes.READY:
                self._require_running(awaited)
                for one in awaited:
                    if one.instance.probe == "/readyz":
                        watch.check(one.instance.name, probes.unready_answer(one.instance.port, one.instance.host))
                if time.monotonic() > deadline:
                    raise StackNotReady(record.instance.name, timeout_seconds, reason, logtail.last_lines(record.log))
                time.sleep(_POLL_SECONDS)
            self._require_running(awaited)

    def _require_running(self, awaited: list[Record]) -> None:
        for record in awaited:
            if record.process and _process_state(record).state == "ended":
                lines = logtail.last_lines(record.log)
                raise ServiceExited(record.instance.name, processes.exit_description(record.process), lines)


@cache  # once in a process, however many stacks it starts
def _build_models(root: Path, *names: str) -> None:
    command = [sys.executable, "-m", "models", *names]
    done = subprocess.run(command, cwd=root, stdout=sys.stderr.fileno(), check=False)
    if done.returncode != 0:
        raise CommandFailed(
            ["python", *command[1:]], done.returncode, "the models could not be built; see the output above"
        )


def _process_state(record: Record) -> processes.ProcessState:
    return processes.state_of(record.process) if record.process else processes.ProcessState("ended")


def _url(record: Record) -> str:
    scheme = "redis" if record.instance.probe == "redis" else "http"
    return f"{scheme}://{in_url(record.instance.host)}:{record.instance.port}"


def _probe(record: Record) -> str:
    return probes.run(record.instance.probe, record.instance.port, record.instance.host)


def _status(record: Record) -> ServiceStatus:
    seen = _process_state(record)
    if seen.state == "ended":
        return ServiceStatus(record.instance.name, "exited", None, None, None)
    uptime = time.time() - record.since
    if seen.state == "frozen":
        return ServiceStatus(record.instance.name, "frozen", _url(record), uptime, seen.memory_bytes)
    ready = _probe(record) == probes.READY
    return ServiceStatus(record.instance.name, "ready" if ready else "unready", _url(record), uptime, seen.memory_bytes)
