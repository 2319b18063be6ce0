"""A client far away: the last packet of each TCP handshake comes some milliseconds late, with the request in it.

    python slow_handshake.py HOST PORT LATE_SECONDS

On one machine a handshake is over before `connect` returns, so that no listener ever closes in the midst of one. Here
the kernel sends the first packet and is kept from seeing what comes back, which a raw socket (CAP_NET_RAW) reads and
answers late. Opens connections until they are refused, then prints what became of them as one line of JSON:
`answered`, `refused` (by the first packet), `reset` (after the handshake: the request is lost), `silent` (no response
within five seconds) and `given_up` (this process had no turn when the last packet was due, so it was not sent).
"""

from __future__ import annotations

import ctypes
import json
import select
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

SO_ATTACH_FILTER = 26
DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # a socket filter of one instruction: keep 0 bytes of each packet
RST, PSH, ACK, SYN = 0x04, 0x08, 0x10, 0x02
PAUSE_SECONDS, PATIENCE_SECONDS = 0.001, 5.0
ENOUGH, MOST_OPEN = 100, 500
BODY = b'{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}'


@dataclass
class Handshake:
    """One connection; `due` is when its last packet is sent, with these sequence numbers."""

    kernel: socket.socket
    begun: float
    due: float = 0.0
    seq: int = 0
    ack: int = 0
    sent: bool = False


class SlowClient:
    """Connections to one address, by their own port."""

    def __init__(self, host: str, port: int, late: float) -> None:
        self.host, self.port, self.late = socket.gethostbyname(host), port, late
        self.raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_000_000)
        self.raw.setblocking(False)
        self.open: dict[int, Handshake] = {}
        self.tally = dict.fromkeys(("answered", "refused", "reset", "silent", "given_up"), 0)
        self.slowest_refusal_seconds = 0.0
        head = f"POST /v2/models/iris/infer HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        self.request = f"{head}Connection: close\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY

    def begin(self) -> None:
        """Sends the first packet of a handshake."""
        one = socket.socket()
        one.setblocking(False)
        code = ctypes.create_string_buffer(DROP_ALL, len(DROP_ALL))
        one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(code)))
        one.connect_ex((self.host, self.port))
        self.open[one.getsockname()[1]] = Handshake(one, time.monotonic())

    def end(self, own: int, how: str) -> None:
        self.tally[how] += 1
        self.open.pop(own).kernel.close()

    def turn(self, seconds: float) -> None:
        """Reads what has come within so many seconds, and sends the last packets that are due."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.send_due()
            if select.select([self.raw], [], [], min(left, self.late / 5))[0]:
                with suppress(BlockingIOError):
                    while True:
                        self.read(self.raw.recv(65536))

    def read(self, packet: bytes) -> None:
        """One packet with its IP header (RFC 791), as raw(7) gives it; the TCP header is that of RFC 9293."""
        at = (packet[0] & 0x0F) * 4
        source, own, seq, ack, offset, flags = struct.unpack_from("!HHIIBB", packet, at)
        shake = self.open.get(own)
        if source != self.port or socket.inet_ntoa(packet[12:16]) != self.host or shake is None:
            return
        now = time.monotonic()
        if flags & RST:
            if not shake.sent:
                self.slowest_refusal_seconds = max(self.slowest_refusal_seconds, now - shake.begun)
            self.end(own, "reset" if shake.sent else "refused")
        elif flags & SYN and not shake.due:
            shake.due, shake.seq, shake.ack = now + self.late, ack, (seq + 1) & 0xFFFFFFFF
        elif packet[at + (offset >> 4) * 4 :].startswith(b"HTTP/1.1 200 "):
            self.end(own, "answered")

    def send_due(self) -> None:
        now = time.monotonic()
        for own, shake in [(own, one) for own, one in self.open.items() if one.due and not one.sent and one.due <= now]:
            if now > shake.begun + 2 * self.late:
                self.end(own, "given_up")
            else:
                shake.sent = True
                self.raw.sendto(self.packet(own, shake), (self.host, 0))

    def packet(self, own: int, shake: Handshake) -> bytes:
        """The last packet of the handshake, with the request."""
        ends = socket.inet_aton(shake.kernel.getsockname()[0]) + socket.inet_aton(self.host)

        def header(checksum: int) -> bytes:
            return struct.pack(
                "!HHIIBBHHH", own, self.port, shake.seq, shake.ack, 5 << 4, PSH | ACK, 65535, checksum, 0
            )

        length = 20 + len(self.request)
        summed = ends + struct.pack("!BBH", 0, socket.IPPROTO_TCP, length) + header(0) + self.request
        total = sum(struct.unpack(f"!{(len(summed) + 1) // 2}H", summed + b"\0" * (len(summed) % 2)))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return header(~total & 0xFFFF) + self.request


def main(host: str, port: int, late: float) -> None:
    client = SlowClient(host, port, late)
    told = False
    while client.tally["refused"] < ENOUGH:
        if len(client.open) < MOST_OPEN:
            client.begin()
        client.turn(PAUSE_SECONDS)
        if not told and client.tally["answered"] >= ENOUGH:
            print("under way", flush=True)
            told = True
    until = time.monotonic() + PATIENCE_SECONDS
    while any(one.due for one in client.open.values()) and time.monotonic() < until:
        client.turn(0.01)
    client.tally["silent"] = len(client.open)
    print(json.dumps({**client.tally, "slowest_refusal_seconds": client.slowest_refusal_seconds}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
