"""Leads the chosen port of this machine to the entry of a stack on a cluster, until that stack is stopped.

It is a process with our own balancer in front of the node port, so it survives the pods, which `kubectl port-forward`
does not.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from runtimes import balancers, processes, state_file
from runtimes.base import StackOptions, warn_of_open_entry
from runtimes.errors import ServiceExited, StackNotReady
from runtimes.instances import Instance
from runtimes.logtail import last_lines
from runtimes.ports import in_url, reachable
from runtimes.probes import accepts_connections
from runtimes.state_file import Record

_GRACE_SECONDS = 3.0
_START_SECONDS = 10.0
_ROOT = Path(__file__).resolve().parents[1]


class EntryForward:
    """The forwarding process of one stack; its state is in a file below `.run/`, which another process can read."""

    def __init__(self, name: str, root: Path) -> None:
        self._state = root / ".run" / f"{name}.json"
        self._log = self._state.with_suffix(".log")

    def start(self, options: StackOptions, node: str, node_ports: dict[int, int]) -> None:
        """Forward the ports of `options` to the node ports of the same container ports, if they were chosen.

        Raises StackError.
        """
        if not options.ports_given:
            return
        ports = {port: outside for port, outside in options.entry_ports().items() if port in node_ports}
        command = balancers.forward(options.bind, ports, node, node_ports)
        host = reachable(options.bind)
        one = Instance("entry", "entry", command, dict(os.environ), ports, "/readyz", [], _GRACE_SECONDS, True, host)
        self._state.parent.mkdir(parents=True, exist_ok=True)
        launched = processes.launch([sys.executable, *command[1:]], one.environment, _ROOT, self._log)
        record = Record(one, self._log, launched, time.time())
        state_file.save(self._state, [record])
        deadline = time.monotonic() + _START_SECONDS
        while not all(accepts_connections(port, host) for port in ports.values()):
            if processes.state_of(launched).state == "ended":
                raise ServiceExited("the forwarding of the entry's port", "ended", last_lines(self._log))
            if time.monotonic() > deadline:
                raise StackNotReady("the forwarding of the entry's port", _START_SECONDS, f"see {self._log}")
            time.sleep(0.05)
        warn_of_open_entry(options)

    def address(self, port: int) -> str | None:
        """`host:port` of this machine that leads to a port of the entry; None if nothing is forwarded."""
        for record in state_file.load(self._state):
            if record.process and processes.state_of(record.process).state != "ended" and port in record.instance.ports:
                return f"{in_url(record.instance.host)}:{record.instance.ports[port]}"
        return None

    def stop(self) -> None:
        """End the process. Does nothing if there is none."""
        for record in state_file.load(self._state):
            if record.process:
                processes.terminate(record.process, record.instance.grace_seconds)
        for file in (self._state, self._log):
            file.unlink(missing_ok=True)
