"""A process counts as ended when all its threads have ended."""

import os
import sys
import time
from pathlib import Path

import pytest

from runtimes import ports, processes

MANY_THREADS = """
import socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
for _ in range(30):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
time.sleep(60)
"""


@pytest.mark.parametrize("end", [processes.kill, lambda process: processes.terminate(process, 5)], ids=["kill", "end"])
def test_an_ended_process_holds_no_port(end: object, tmp_path: Path) -> None:
    assert callable(end)
    for _ in range(15):  # threads end one by one, so a single try would often not show it
        (port,) = ports.free_ports(1)
        command = [sys.executable, "-c", MANY_THREADS, str(port)]
        process = processes.launch(command, os.environ, tmp_path, tmp_path / "log")
        deadline = time.monotonic() + 10
        while ports.is_free(port):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        end(process)
        assert ports.is_free(port)


def test_free_ports_are_not_ephemeral_ports() -> None:
    found = ports.free_ports(50)
    assert len(set(found)) == 50
    assert max(found) < 32768
