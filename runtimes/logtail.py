"""Reads log files: the last lines, or all lines and then new ones as they are written."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TextIO


def last_lines(path: Path, count: int = 20) -> str:
    """The last `count` lines of a file; empty if it does not exist."""
    if not path.exists():
        return ""
    with path.open(errors="replace") as file:
        return "".join(deque(file, count)).rstrip()


def lines(logs: Mapping[str, Path], keep_following: Callable[[], bool]) -> Iterator[str]:
    """Every line of `logs` as `<name> | <line>`, and new lines while `keep_following()`."""
    files = {name: path.open(errors="replace") for name, path in logs.items() if path.exists()}
    width = max(map(len, files), default=0)
    try:
        while True:
            last = not keep_following()
            for name, file in files.items():
                yield from (f"{name:{width}} | {line}" for line in _complete_lines(file, last))
            if last:
                return
            time.sleep(0.2)
    finally:
        for file in files.values():
            file.close()


def _complete_lines(file: TextIO, last: bool) -> Iterator[str]:
    """New lines. A line that is not complete is left for the next call, unless this is the `last` one."""
    while True:
        position = file.tell()
        line = file.readline()
        if not line or not (line.endswith("\n") or last):
            file.seek(position)
            return
        yield line.rstrip("\n")
