"""Detached processes that another process of ours can find, signal and end later."""

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

# Children of this very process and their exit codes, None while they run: a child must be waited for to go altogether.
_children: dict[int, int | None] = {}


@dataclass(frozen=True)
class Process:
    """A process, told from a later one with the same number by the moment it started."""

    pid: int
    started: str


@dataclass(frozen=True)
class Condition:
    """How a process is doing; `memory_bytes` is its resident set, None where unknown."""

    state: Literal["running", "frozen", "gone"]
    started: str = ""
    memory_bytes: int | None = None


def launch(command: list[str], environment: Mapping[str, str], directory: Path, log: Path) -> Process:
    """Starts `command` in a session of its own with its output appended to `log`. Raises OSError."""
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
    child.returncode = 0  # it outlives this object, which would complain: _reap() waits for it instead
    _children[child.pid] = None
    return Process(child.pid, _look(child.pid).started)


def condition(process: Process) -> Condition:
    """How `process` is doing now."""
    _reap(process.pid)
    seen = _look(process.pid)
    return seen if seen.started == process.started else Condition("gone")


def ending(process: Process) -> str:
    """How an ended process ended, in words."""
    _reap(process.pid)
    code = _children.get(process.pid)
    if code is None:
        return "exited"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def send(process: Process, signum: int) -> None:
    """Signals `process`, if it is still there."""
    if condition(process).state != "gone":
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signum)


def send_all(process: Process, signum: int) -> None:
    """Signals `process` and its descendants in the same session, even when it has gone before them."""
    if condition(process).state != "gone" or _look(process.pid).state == "gone":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signum)


def wait_gone(process: Process, timeout_seconds: float) -> bool:
    """Waits until `process` has ended; False when it has not in time."""
    deadline = time.monotonic() + timeout_seconds
    while condition(process).state != "gone":
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def end(process: Process, grace_seconds: float) -> None:
    """SIGTERM, then after `grace_seconds` SIGKILL for it and what it has left behind."""
    send(process, signal.SIGTERM)
    send_all(process, signal.SIGCONT)
    if not wait_gone(process, grace_seconds):
        send(process, signal.SIGKILL)
        wait_gone(process, 10)
    send_all(process, signal.SIGKILL)


def kill(process: Process) -> None:
    """SIGKILL for it and its descendants, and waits until it has gone."""
    send_all(process, signal.SIGKILL)
    wait_gone(process, 10)


def _reap(pid: int) -> None:
    if _children.get(pid, 0) is None:
        with contextlib.suppress(ChildProcessError):
            ended, status = os.waitpid(pid, os.WNOHANG)
            _children[pid] = os.waitstatus_to_exitcode(status) if ended else None


def _look(pid: int) -> Condition:
    if Path("/proc/self/stat").exists():
        return _look_in_proc(pid)
    return _look_with_ps(pid)


def _look_in_proc(pid: int) -> Condition:
    """proc(5): after the bracketed name, `stat` has the state first and the start time 20th."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        threads = len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return Condition("gone")
    if fields[0] == "Z" and threads > 1:  # the first thread has ended, the others still hold the sockets
        return Condition("running", fields[19])
    return _condition(fields[0], fields[19], pages * os.sysconf("SC_PAGE_SIZE"))


def _look_with_ps(pid: int) -> Condition:
    ps = shutil.which("ps") or "/bin/ps"
    done = subprocess.run(
        [ps, "-o", "state=,rss=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    words = done.stdout.split(None, 2)
    return _condition(words[0], words[2].strip(), int(words[1]) * 1024) if len(words) == 3 else Condition("gone")


def _condition(state: str, started: str, memory_bytes: int) -> Condition:
    if state[0] in "ZX":
        return Condition("gone")
    return Condition("frozen" if state[0] in "Tt" else "running", started, memory_bytes)


def tree_memory_bytes(pid: int) -> int:
    """Resident memory of a process and all its descendants (Linux alone)."""
    children = [
        int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()
    ]
    return (_look(pid).memory_bytes or 0) + sum(map(tree_memory_bytes, children))
