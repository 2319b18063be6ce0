"""Servers and load generators as processes, each on a core of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import msgspec
import psutil

from bench.plan import LOCAL, Plan, Result

ROOT = Path(__file__).resolve().parent.parent
READY_PATH = "/v2/health/ready"
READY_TIMEOUT_SECONDS = 30.0
READY_POLL_SECONDS = 0.005
STOP_TIMEOUT_SECONDS = 15.0
START_OF_LOAD_SECONDS = 15.0
# A server gets these variables and its own settings: the caller's own MODEL or HOST would change the measurement.
KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


class BenchError(RuntimeError):
    """The measurement cannot be made; the message says why."""


@dataclass(frozen=True)
class Cores:
    """The core of the server, and the core of the load and of the bench itself."""

    server: int
    load: int

    @property
    def both(self) -> tuple[int, int]:
        """The cores of a single process that is compared with two processes on one core each."""
        return self.server, self.load


def choose_cores() -> Cores:
    """The last core that this process may use for the server, the first for the load. Raises BenchError."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError(
            "two cores are needed, one for the server and one for the load, but this process may use only one"
        )
    return Cores(server=cores[-1], load=cores[0])


@contextmanager
def on_core(*cores: int) -> Iterator[None]:
    """Pin the calling thread, and every process that it starts in the block, to these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as sock:
        sock.bind((LOCAL, 0))
        return int(sock.getsockname()[1])


def http_ready(port: int) -> bool:
    """Whether GET /v2/health/ready returns 200."""
    connection = HTTPConnection(LOCAL, port, timeout=1.0)
    try:
        connection.request("GET", READY_PATH)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def listens(port: int) -> bool:
    """Whether the port accepts connections; the readiness check of a store."""
    with socket.socket() as sock:
        return sock.connect_ex((LOCAL, port)) == 0


class Server:
    """A server process that is ready. `ready_seconds` is the time from its start to its first successful check."""

    def __init__(
        self,
        command: Sequence[str],
        settings: Mapping[str, str],
        port: int,
        cores: Sequence[int],
        log: Path,
        ready: Callable[[int], bool] = http_ready,
    ) -> None:
        environment = {key: os.environ[key] for key in KEPT_ENVIRONMENT if key in os.environ} | dict(settings)
        self.settings, self.port, self.log = settings, port, log
        began = time.perf_counter()
        with log.open("wb") as output, on_core(*cores):
            self.process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=output, stderr=output)
        try:
            self._await(ready)
        except BaseException:
            self.stop()
            raise
        self.ready_seconds = time.perf_counter() - began

    def _await(self, ready: Callable[[int], bool]) -> None:
        deadline = time.perf_counter() + READY_TIMEOUT_SECONDS
        while not ready(self.port):
            if self.process.poll() is not None:
                raise BenchError(f"the server ended with {self.process.returncode}: {self._last_lines()}")
            if time.perf_counter() > deadline:
                raise BenchError(f"the server was not ready after {READY_TIMEOUT_SECONDS} s: {self._last_lines()}")
            time.sleep(READY_POLL_SECONDS)

    def _last_lines(self) -> str:
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-5:])

    def memory_bytes(self) -> int:
        """Resident memory of the process and its children in bytes, shared pages included."""
        parent = psutil.Process(self.process.pid)
        return sum(int(one.memory_info().rss) for one in [parent, *parent.children(recursive=True)])

    def cpu_seconds(self) -> float:
        """CPU seconds that the process has used so far."""
        used = psutil.Process(self.process.pid).cpu_times()
        return float(used.user + used.system)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Run the server inside the block and suspend it at the end."""
        if self.process.poll() is not None:
            raise BenchError(f"the server ended with {self.process.returncode}: {self._last_lines()}")
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.suspend()

    def suspend(self) -> None:
        """Stop the process with SIGSTOP, so that its idle timers do not use CPU during other turns."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def stop(self) -> None:
        """End the process with SIGTERM, and with SIGKILL after STOP_TIMEOUT_SECONDS."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class ServerGroup:
    """Servers of one comparison: starts them, puts them under load, and stops all of them on exit."""

    def __init__(self, cores: Cores, logs: Path) -> None:
        self.cores, self.logs, self.stack = cores, logs, ExitStack()

    def start(
        self,
        name: str,
        command: Sequence[str],
        settings: Mapping[str, str],
        port: int,
        cores: Sequence[int] = (),
        ready: Callable[[int], bool] = http_ready,
    ) -> Server:
        """Start `command` on `cores` (default: the server's core) and wait until it is ready. Raises BenchError.

        It runs until the group is closed.
        """
        server = Server(command, settings, port, cores or (self.cores.server,), self.logs / f"{name}.log", ready)
        self.stack.callback(server.stop)
        return server

    def load(self, plan: Plan) -> Result:
        """One turn of load from a new process on the load's core."""
        return run_plan(["bench.grpc_load" if plan.method else "bench.load"], plan, self.cores.load)

    def __enter__(self) -> "ServerGroup":
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()


def run_plan(module: Sequence[str], plan: Plan, core: int) -> Result:
    """Run a module (name, arguments) that reads a `Plan` and writes a `Result`, on one core. Raises BenchError."""
    try:
        with on_core(core):
            done = subprocess.run(
                [sys.executable, "-m", *module],
                input=msgspec.msgpack.encode(plan),
                capture_output=True,
                cwd=ROOT,
                timeout=plan.longest_seconds + START_OF_LOAD_SECONDS,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{module[0]} had not ended after {error.timeout:.0f} s; is the machine busy?") from None
    if done.returncode:
        raise BenchError(f"{module[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
    return msgspec.json.decode(done.stdout, type=Result)
