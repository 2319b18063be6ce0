"""Reads log files: the last lines, and the lines still to come."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TextIO


def last_lines(path: Path, count: int = 20) -> str:
    """The last `count` lines of a file; empty when there is none."""
    if not path.exists():
        return ""
    with path.open(errors="replace") as file:
        return "".join(deque(file, count)).rstrip()


def lines(logs: Mapping[str, Path], goes_on: Callable[[], bool]) -> Iterator[str]:
    """Every line of `logs` as `<name> | <line>`, and those to come for as long as `goes_on()`."""
    files = {name: path.open(errors="replace") for name, path in logs.items() if path.exists()}
    width = max(map(len, files), default=0)
    try:
        while True:
            last = not goes_on()
            for name, file in files.items():
                yield from (f"{name:{width}} | {line}" for line in _whole_lines(file, last))
            if last:
                return
            time.sleep(0.2)
    finally:
        for file in files.values():
            file.close()


def _whole_lines(file: TextIO, last: bool) -> Iterator[str]:
    """What has come since; a line that is still being written waits, unless this is the `last` look."""
    while True:
        position = file.tell()
        line = file.readline()
        if not line or not (line.endswith("\n") or last):
            file.seek(position)
            return
        yield line.rstrip("\n")
