"""Detached processes, which a later process can find, signal and stop."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# Exit codes of this process's children, None while they run. A child stays a zombie until it is waited for.
_children: dict[int, int | None] = {}


@dataclass(frozen=True)
class Process:
    """A process. Its start time distinguishes it from a later process with the same pid."""

    pid: int
    started: str


@dataclass(frozen=True)
class ProcessState:
    """The state of a process. `memory_bytes` is its resident set size, None if unknown."""

    state: Literal["running", "frozen", "ended"]
    started: str = ""
    memory_bytes: int | None = None


def launch(command: list[str], environment: Mapping[str, str], directory: Path, log: Path) -> Process:
    """Start a command in a new session. Its output is appended to `log`. Raises OSError."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # Avoids the ResourceWarning of a Popen that outlives this object; _reap() waits for the process.
    child.returncode = 0
    _children[child.pid] = None
    return Process(child.pid, _read_state(child.pid).started)


def state_of(process: Process) -> ProcessState:
    """The state of a process now."""
    _reap(process.pid)
    seen = _read_state(process.pid)
    return seen if seen.started == process.started else ProcessState("ended")


def exit_description(process: Process) -> str:
    """How a process ended, for an error message."""
    _reap(process.pid)
    code = _children.get(process.pid)
    if code is None:
        return "exited"
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def send_signal(process: Process, signum: int) -> None:
    """Send a signal to a process, if it is still running."""
    if state_of(process).state != "ended":
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signum)


def signal_session(process: Process, signum: int) -> None:
    """Send a signal to a process and its descendants in the same session, even if the process itself has ended."""
    if state_of(process).state != "ended" or _read_state(process.pid).state == "ended":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signum)


def wait_ended(process: Process, timeout_seconds: float) -> bool:
    """Wait until a process has ended. Returns False at the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while state_of(process).state != "ended":
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def terminate(process: Process, grace_seconds: float) -> None:
    """Send SIGTERM, after `grace_seconds` SIGKILL, and SIGKILL to descendants that are left."""
    send_signal(process, signal.SIGTERM)
    signal_session(process, signal.SIGCONT)
    if not wait_ended(process, grace_seconds):
        send_signal(process, signal.SIGKILL)
        wait_ended(process, 10)
    signal_session(process, signal.SIGKILL)


def kill(process: Process) -> None:
    """Send SIGKILL to a process and its descendants. Returns when it has ended."""
    signal_session(process, signal.SIGKILL)
    wait_ended(process, 10)


def _reap(pid: int) -> None:
    if _children.get(pid, 0) is None:
        with contextlib.suppress(ChildProcessError):
            ended, status = os.waitpid(pid, os.WNOHANG)
            _children[pid] = os.waitstatus_to_exitcode(status) if ended else None


def _read_state(pid: int) -> ProcessState:
    if Path("/proc/self/stat").exists():
        return _read_proc(pid)
    return _read_ps(pid)


def _read_proc(pid: int) -> ProcessState:
    """Read /proc/<pid>/stat (proc(5)): after the name in brackets, the state is field 0 and the start time field 19."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        threads = len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return ProcessState("ended")
    if fields[0] == "Z" and threads > 1:  # the main thread has ended, but the others still hold the sockets
        return ProcessState("running", fields[19])
    return _process_state(fields[0], fields[19], pages * os.sysconf("SC_PAGE_SIZE"))


def _read_ps(pid: int) -> ProcessState:
    ps = shutil.which("ps") or "/bin/ps"
    done = subprocess.run(
        [ps, "-o", "state=,rss=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    words = done.stdout.split(None, 2)
    return (
        _process_state(words[0], words[2].strip(), int(words[1]) * 1024) if len(words) == 3 else ProcessState("ended")
    )


def _process_state(state: str, started: str, memory_bytes: int) -> ProcessState:
    if state[0] in "ZX":
        return ProcessState("ended")
    return ProcessState("frozen" if state[0] in "Tt" else "running", started, memory_bytes)


def tree_memory_bytes(pid: int) -> int:
    """Resident memory of a process and all its descendants, in bytes (Linux only)."""
    children = [
        int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()
    ]
    return (_read_state(pid).memory_bytes or 0) + sum(map(tree_memory_bytes, children))
