"""A door before moto's server, for commands as a person runs them: it counts calls as they arrive, and can refuse them,
hang, lose their answers, or answer some itself (`support.aws_cloud` lists what moto lacks).
"""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from support import moto_server
from support.aws_cloud import _products

SILENCE_S = 60.0


@dataclass
class Front:
    """What came through, and what is done to it. Actions are EC2's own (``DescribeInstances``)."""

    url: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """``(region, action)`` in order."""
    sent: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    """By action what came with each call; of EC2's and other query protocols."""
    refused: dict[tuple[str, str], tuple[int, str, str]] = field(default_factory=dict)
    """By region and action (``*`` for all): status, code and message of a refusal."""
    only: dict[tuple[str, str], int] = field(default_factory=dict)
    """How many more refusals there are of those that end."""
    lost: dict[str, bool] = field(default_factory=dict)
    """Actions whose connection ends without an answer; whether they reach EC2 first."""
    hanging: set[str] = field(default_factory=set)
    """Regions that never answer."""
    keys: set[str] = field(default_factory=set)
    """Access keys that calls were signed with."""
    bad_keys: set[str] = field(default_factory=set)
    """Access keys that are refused."""
    let_go: threading.Event = field(default_factory=threading.Event)

    def count(self, action: str) -> int:
        """How often it was asked, in any region."""
        return sum(1 for _, name in self.calls if name == action)

    def by_region(self) -> Counter[tuple[str, str]]:
        """How often each action was asked in each region."""
        return Counter(self.calls)

    def refuse(
        self,
        action: str,
        code: str,
        *,
        status: int = 400,
        region: str = "*",
        message: str = "as said",
        times: int | None = None,
    ) -> None:
        """From now on that action is answered with a no; that many times, where told."""
        self.refused[region, action] = (status, code, message)
        if times is not None:
            self.only[region, action] = times

    def refusal(self, region: str, action: str) -> tuple[int, str, str] | None:
        """What that call is refused with, if it is."""
        for where in ((region, action), ("*", action), (region, "*"), ("*", "*")):
            if where in self.refused and self.only.get(where) != 0:
                if where in self.only:
                    self.only[where] -= 1
                return self.refused[where]
        return None


@contextmanager
def aws_front() -> Iterator[Front]:
    """A door on a loopback port of its own."""
    front = Front()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = _handled(front, dict(self.headers), self.path, body)
            if answer is not None:
                self._answer(*answer)
            self.close_connection = answer is None

        def do_GET(self) -> None:
            self._answer(*_passed(self.path, dict(self.headers), None))

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            with contextlib.suppress(ConnectionError):  # who asked may have given up
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        front.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield front
        finally:
            front.let_go.set()
            server.shutdown()


def _handled(front: Front, headers: dict[str, str], path: str, body: bytes) -> tuple[int, str, bytes] | None:
    signed = headers.get("Authorization", "////").split("/")
    key, region = signed[0].rpartition("=")[2], signed[2]
    front.keys.add(key)
    target = headers.get("X-Amz-Target", "")
    given = {} if target else {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
    action = target.rpartition(".")[2] or given.get("Action", "")
    front.calls.append((region, action))
    front.sent.setdefault(action, []).append(given)
    if region in front.hanging:
        front.let_go.wait(SILENCE_S)
    if key in front.bad_keys:
        return _refusal(401, "AuthFailure", "AWS was not able to validate the provided access credentials")
    if (no := front.refusal(region, action)) is not None:
        return _refusal(*no)
    if action in front.lost:
        if front.lost[action]:
            _passed(path, headers, body)
        return None
    if action == "GetProducts":
        _, parsed = _products("", {"body": body.decode()})
        del parsed["ResponseMetadata"]
        return 200, "application/x-amz-json-1.1", json.dumps(parsed).encode()
    return _passed(path, headers, body)


def _refusal(status: int, code: str, message: str) -> tuple[int, str, bytes]:
    errors = f"<Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
    return status, "text/xml", f"<Response>{errors}<RequestID>r</RequestID></Response>".encode()


def _passed(path: str, headers: dict[str, str], body: bytes | None) -> tuple[int, str, bytes]:
    kept = {name: value for name, value in headers.items() if name.lower() not in {"host", "connection"}}
    request = urllib.request.Request(moto_server.server_url() + path, data=body, headers=kept)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers.get("Content-Type", "text/xml"), answer.read()
    except urllib.error.HTTPError as no:
        return no.code, no.headers.get("Content-Type", "text/xml"), no.read()
