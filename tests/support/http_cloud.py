"""The base of clouds that tests make: a real HTTP/1.1 server on loopback with state, a clock, a log and faults.

A cloud is a subclass with `@route` methods::

    class Fake(HttpCloud):
        @route("GET", r"/api/v1/instances/(?P<id>[^/]+)")
        def instance(self, request: Request, id: str) -> Reply: ...

State is touched under one lock. Time is `clock`; nothing changes state but requests and the clock.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gpudash.clock import Clock


@dataclass(frozen=True)
class Request:
    """One request as the server read it."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    """Names in lower case."""
    content: bytes

    @property
    def json(self) -> Any:
        """The body; None where there is none."""
        return json.loads(self.content) if self.content else None

    def one(self, name: str) -> str | None:
        """A parameter of the query."""
        return (self.query.get(name) or [None])[0]


@dataclass(frozen=True)
class Reply:
    """One answer. `body` is made JSON unless it is bytes."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else json.dumps(self.body, default=_number).encode()


def _number(value: object) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(value.__class__.__name__)


Handler = Callable[..., Reply]
WEB_PAGE = b"<!DOCTYPE html><html><head><title>error 1015</title></head><body>You are being rate limited</body></html>"


def page(status: int, **headers: str) -> Reply:
    """A web page, as proxies in front of clouds answer."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, WEB_PAGE, {"Content-Type": "text/html", **told})


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the requests it fits."""

    name: str
    answer: Reply | Callable[[Reply], Reply] | None = None
    """Instead of the true answer, or made from it; None leaves it."""
    takes_effect: bool = False
    """The request does its work before it goes wrong."""
    wire: str = "whole"
    """How the answer travels: ``whole``, ``hang`` (nothing comes), ``half`` (then silence), ``cut`` (then the end of
    the connection), ``reset`` (then a reset), ``drip`` (a byte now and then), ``drop`` (closed before a byte)."""
    method: str = ""
    """Only requests by this method; empty for all."""
    path: str = ""
    """Only requests whose path this pattern is found in."""
    times: int | None = None
    """How many requests it hits; None for all."""


def route(method: str, pattern: str) -> Callable[[Handler], Handler]:
    """Mark a method as the answer to requests whose whole path fits the pattern."""

    def mark(handler: Handler) -> Handler:
        handler.route = (method, re.compile(pattern))  # type: ignore[attr-defined]
        return handler

    return mark


class HttpCloud:
    """A server that runs from `__init__` until `close`."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.log: list[Request] = []
        self.skew = timedelta(0)
        """How far this cloud's clock is ahead."""
        self.on_made: Callable[[Any], None] = _nothing
        """Told each machine that is made, before it is shown; a test may give it a real host with a real address."""
        self.on_end: Callable[[Any], None] = _nothing
        """Told each machine that ends or stops."""
        self._faults: list[tuple[Fault, threading.Event, list[int]]] = []
        self._connections: set[socket.socket] = set()
        self._routes = [
            (*handler.route, getattr(self, name))
            for name in dir(type(self))
            if hasattr(handler := getattr(type(self), name), "route")
        ]
        self._open(0)

    @property
    def url(self) -> str:
        """The origin."""
        return f"http://127.0.0.1:{self.port}"

    def count(self, method: str = "", pattern: str = "") -> int:
        """How many requests by that method whose path the pattern is found in."""
        with self.lock:
            return sum(1 for r in self.log if method in ("", r.method) and re.search(pattern, r.path))

    @contextmanager
    def fault(self, fault: Fault) -> Iterator[None]:
        """The fault, for a while. Requests that hang are let go at the end."""
        entry = (fault, threading.Event(), [0])
        with self.lock:
            self._faults.append(entry)
        try:
            yield
        finally:
            with self.lock:
                self._faults.remove(entry)
            entry[1].set()

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody listens, for a while."""
        self._shut()
        try:
            yield
        finally:
            self._open(self.port)

    def close(self) -> None:
        """End the server and every connection."""
        for _, over, _ in self._faults:
            over.set()
        self._shut()

    def refuse(self, request: Request) -> Reply | None:
        """A subclass's check of the key; None lets the request pass."""
        return None

    def not_found(self, request: Request) -> Reply:
        """A subclass's answer for paths that it does not have."""
        return Reply(404, {"error": "not found"})

    def saw(self, request: Request, reply: Reply) -> None:
        """A subclass's look at each exchange that no fault touched."""

    def answer(self, request: Request) -> Reply:
        """The true answer."""
        refusal = self.refuse(request)
        if refusal is not None:
            return refusal
        for method, pattern, handler in self._routes:
            match = pattern.fullmatch(request.path)
            if match and method == request.method:
                return handler(request, **match.groupdict())
        return self.not_found(request)

    def _open(self, port: int) -> None:
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def _shut(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        with self.lock:
            open_ones = list(self._connections)
        for connection in open_ones:
            _shutdown(connection)

    def _serve(self, request: Request) -> tuple[Reply | None, str, threading.Event]:
        """The answer, how it travels, and what ends a wait. No answer at all is None."""
        with self.lock:
            self.log.append(request)
            hit = self._hit(request)
            if hit is None:
                reply = self.answer(request)
                self.saw(request, reply)
                return reply, "whole", threading.Event()
            fault, over = hit
            happens = fault.takes_effect or callable(fault.answer) or request.method == "GET"
            true = self.answer(request) if happens else Reply(body={"done": True})
            if isinstance(fault.answer, Reply):
                return fault.answer, fault.wire, over
            return (fault.answer(true) if fault.answer else true), fault.wire, over

    def _hit(self, request: Request) -> tuple[Fault, threading.Event] | None:
        for fault, over, hits in self._faults:
            fits = fault.method in ("", request.method) and re.search(fault.path, request.path)
            if fits and (fault.times is None or hits[0] < fault.times):
                hits[0] += 1
                return fault, over
        return None


def _nothing(machine: Any) -> None:
    """Nobody wants to know."""


@contextmanager
def unanswering() -> Iterator[str]:
    """An origin to which no connection can be made: its queue is full, so the kernel lets attempts time out."""
    waiting: list[socket.socket] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        try:
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(listener.getsockname())
                waiting.append(filler)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for filler in waiting:
                filler.close()


def changed(edit: Callable[[Any], Any]) -> Callable[[Reply], Reply]:
    """An answer whose data is edited on the way: `edit` gets a copy of the decoded body and returns another."""
    return lambda reply: replace(reply, body=edit(json.loads(reply.content or b"null")))


def cut_short(reply: Reply) -> Reply:
    """Half of the data, with a length that says it is all."""
    content = reply.content
    return replace(reply, body=content[: max(len(content) // 2, 1)])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are what the tests are about."""


def _handler(cloud: HttpCloud) -> type[BaseHTTPRequestHandler]:
    class Exchange(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 60

        def setup(self) -> None:
            super().setup()
            with cloud.lock:
                cloud._connections.add(self.connection)

        def finish(self) -> None:
            with cloud.lock:
                cloud._connections.discard(self.connection)
            super().finish()

        def _exchange(self) -> None:
            parts = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, parts.path, parse_qs(parts.query, keep_blank_values=True), headers, content)
            reply, wire, over = cloud._serve(request)
            if reply is None or wire in ("hang", "drop"):
                if wire == "hang":
                    over.wait(30)
                self.close_connection = True
                return
            self._send(_bytes(reply, cloud), wire, over)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _exchange

        def _send(self, whole: bytes, wire: str, over: threading.Event) -> None:
            if wire == "whole":
                self.wfile.write(whole)
                return
            self.close_connection = True
            if wire == "drip":
                for at in range(len(whole)):
                    self.wfile.write(whole[at : at + 1])
                    if over.wait(0.05):
                        return
                return
            body_at = whole.index(b"\r\n\r\n") + 4
            self.wfile.write(whole[: body_at + max((len(whole) - body_at) // 2, 1)])
            if wire == "half":
                over.wait(30)
            if wire == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

        def log_message(self, format: str, *args: Any) -> None:
            """Tests read `log`."""

    return Exchange


def _bytes(reply: Reply, cloud: HttpCloud) -> bytes:
    content = reply.content
    headers: Mapping[str, str] = {
        "Date": format_datetime(cloud.clock.now() + cloud.skew, usegmt=True),
        "Content-Type": "application/json",
        **reply.headers,
        "Content-Length": str(len(content)),
    }
    try:
        reason = HTTPStatus(reply.status).phrase
    except ValueError:
        reason = "Unknown"
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {reply.status} {reason}\r\n{head}\r\n".encode() + content


def _shutdown(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
