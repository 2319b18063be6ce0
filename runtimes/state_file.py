"""The state file of a local stack: a JSON file with its instances and their processes."""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtimes.instances import Instance
from runtimes.processes import Process


@dataclass
class Record:
    """An instance and its current or last process. `since` is its start time, in seconds since the epoch."""

    instance: Instance
    log: Path
    process: Process | None = None
    since: float = 0.0


def load(path: Path) -> list[Record]:
    """The records in the file, in start order; empty if it does not exist."""
    if not path.exists():
        return []
    return [_record(tree) for tree in json.loads(path.read_text())]


def save(path: Path, records: list[Record]) -> None:
    """Replace the file atomically. Only its owner can read it, because environments may hold secrets."""
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump([dataclasses.asdict(record) for record in records], file, default=str, indent=1)
    draft.replace(path)


def _record(tree: dict[str, Any]) -> Record:
    instance, process = tree["instance"], tree["process"]
    instance["ports"] = {int(inside): outside for inside, outside in instance["ports"].items()}
    return Record(Instance(**instance), Path(tree["log"]), process and Process(**process), tree["since"])
