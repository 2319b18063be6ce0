"""A stop in the midst of TCP handshakes: those that have begun are brought to their end, new ones are refused at once.

Between two machines a handshake takes the time of a packet there and back. Whoever is in the midst of one when the
listener closes has a connection as far as it knows, sends its request, and must not have it reset.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from runtimes.base import Stack
from tests.conftest import Start
from tests.support import direct_url, exit_code, soon

pytestmark = pytest.mark.runs_on("local", "compose")

CLIENT = Path(__file__).parents[1] / "slow_handshake.py"
LATE = 0.005  # seconds by which the last packet of each handshake comes late, as over some hundred kilometres
AT_ONCE = 0.1  # seconds that a refusal may take on a busy machine; a packet that is dropped is sent again after 1 s


@pytest.fixture(scope="module")
def stack(start_for_module: Start) -> Stack:
    return start_for_module("web_single", DRAIN_DELAY_SECONDS="0.2")


def may_open_raw_sockets() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP).close()
    except PermissionError:
        return False
    return True


async def test_a_handshake_that_has_begun_before_a_stop_is_ended_and_its_request_answered(stack: Stack) -> None:
    if not may_open_raw_sockets():
        pytest.skip("a slow handshake needs CAP_NET_RAW, which root has")
    address = urlsplit(direct_url(stack))
    command = [sys.executable, str(CLIENT), str(address.hostname), str(address.port), str(LATE)]
    client = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert client.stdout is not None
    assert await asyncio.wait_for(client.stdout.readline(), 30) == b"under way\n"
    await asyncio.to_thread(stack.signal, "api", signal.SIGTERM)
    told = json.loads((await asyncio.wait_for(client.communicate(), 60))[0])
    assert (told["reset"], told["silent"]) == (0, 0), told
    assert told["slowest_refusal_seconds"] < AT_ONCE
    assert told["given_up"] < told["answered"], "this machine is too busy to show anything"
    await soon(lambda: exit_code(stack) is not None, "the service has ended", 25)
    assert exit_code(stack) == 0
