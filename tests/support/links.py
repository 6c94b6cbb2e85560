"""What the link tests share: short waits, a small web service, counts."""

from __future__ import annotations

import dataclasses
import http.server
import os

from gpudash.hosts import Limits

QUICK = Limits(
    ping_every_s=0.2, dead_after_s=30.0, tick_s=0.1, backoff_first_s=0.1, backoff_max_s=0.5, reprobe_s=0.2, boot_s=0.0
)
"""The same behaviour in a tenth of the time, but patient with a server that a busy machine lets wait."""
STRICT = dataclasses.replace(QUICK, dead_after_s=1.0)
"""Cuts a link whose server is silent for a second: for tests that freeze one."""


class Greeter(http.server.BaseHTTPRequestHandler):
    """Answers every GET with its path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


class Service(http.server.ThreadingHTTPServer):
    """A web service with room for many at once."""

    request_queue_size = 256
    daemon_threads = True


def descriptors() -> int:
    """Open descriptors of this process."""
    return len(os.listdir("/dev/fd"))
