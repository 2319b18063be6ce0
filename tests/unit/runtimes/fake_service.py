"""A service for tests of the runtimes. It returns its environment, and its keys, for every path; MODE makes it fail."""

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType

MODE = os.environ.get("MODE", "normal")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ready = MODE != "never ready"
        keys = os.environ.get("API_KEYS_FILE")
        told = {**os.environ, "keys": Path(keys).read_text() if keys else ""}
        body = json.dumps(told if ready else {"waiting": "for the model"}).encode()
        self.send_response(200 if ready else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def finish(signum: int, frame: FrameType | None) -> None:
    print("received SIGTERM", flush=True)
    if MODE != "ignores SIGTERM":
        os._exit(0)


if __name__ == "__main__":
    print("starting", *sys.argv[1:], flush=True)
    if MODE == "exits":
        time.sleep(0.6)  # with a restart policy it is mostly seen while it runs again
        sys.exit("the model file is missing")
    signal.signal(signal.SIGTERM, finish)
    signal.signal(signal.SIGUSR1, lambda signum, frame: print("received SIGUSR1", flush=True))
    ThreadingHTTPServer(
        (os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("HTTP_PORT", "8000"))), Handler
    ).serve_forever()
