"""A forward: ``127.0.0.1:local`` here leads to a port of an instance, from switched on to switched off.

The listener belongs to the forward and not to a connection: when the link breaks, the port stays, requests are held
for `Limits.hold_s` and go through once the link is back. A forward is *up* only while a connection to the remote port
went through on the present link; a port with nothing behind it reads *no service*, which is no fault of the link.

The listener is our own and not sshtunnel's. Over the same links (``benchmarks/links.py``) sshtunnel's takes a thread
and ten wake-ups a second for each port, needs seven of its private hooks replaced, and closes a port in up to 100 ms;
ours takes one thread for all ports. 100 idle forwards: 1.5 % of a core and 63 threads, against 3.0 % and 161; a new
connection 1.5 ms, against 3.0 ms; throughput, being the pumps' and paramiko's, is the same.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from gpudash.errors import GpudashError, HostError, LinkDown, NoService, PortBusy
from gpudash.hosts.direct import Receipt, hand_over
from gpudash.hosts.states import LinkState
from gpudash.model.tunnel import TunnelState

if TYPE_CHECKING:
    from paramiko import Channel

    from gpudash.hosts.link import Link

BACKLOG = 128
"""Connections that may wait to be accepted; socketserver's 5 made 50 at once take 8 s."""

CHUNK = 1 << 20
"""Bytes moved at once: all that has come meanwhile, most of the time."""

MOST_VISITS = 512
"""Connections through one forward at a time; more are turned away, so that a loop or a flood ends somewhere."""


class Acceptor:
    """Waits for connections on any number of listeners in one thread, which lives only while there are any.

    A selector and not a blocking accept: on macOS nothing wakes a blocked accept when its socket is shut.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._selector: selectors.BaseSelector | None = None
        self._thread: threading.Thread | None = None
        self._wake = -1
        self._jobs: list[Callable[[], None]] = []

    def add(self, listener: socket.socket, accepted: Callable[[socket.socket], None]) -> None:
        """Call `accepted` with every connection to `listener`, from the acceptor's thread."""
        listener.setblocking(False)
        with self._lock:
            if self._thread is None:
                self._begin()
            assert self._selector is not None
            selector = self._selector
            self._tell(lambda: selector.register(listener, selectors.EVENT_READ, accepted) and None)

    def remove(self, listener: socket.socket) -> None:
        """Stop listening and close; when this returns the port is free."""
        done = threading.Event()
        with self._lock:
            selector, thread = self._selector, self._thread
            if selector is None or thread is None:
                listener.close()
                return

            def drop() -> None:
                with contextlib.suppress(KeyError, ValueError):
                    selector.unregister(listener)
                listener.close()
                done.set()

            self._tell(drop)
            ends = threading.current_thread() is not thread
        if ends:
            done.wait(2.0)
        self._end_if_empty()

    def _begin(self) -> None:
        read, self._wake = os.pipe()
        os.set_blocking(read, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(read, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._loop, args=(self._selector, read), name="forwards", daemon=True)
        self._thread.start()

    def _end_if_empty(self) -> None:
        with self._lock:
            selector, thread = self._selector, self._thread
            if selector is None or thread is None or self._jobs or len(selector.get_map()) > 1:
                return
            os.close(self._wake)
            self._selector = self._thread = None
        if threading.current_thread() is not thread:
            thread.join(2.0)

    def _tell(self, job: Callable[[], None]) -> None:
        self._jobs.append(job)
        os.write(self._wake, b".")

    def _loop(self, selector: selectors.BaseSelector, read: int) -> None:
        try:
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        if not os.read(read, 4096):
                            return
                        self._do_jobs()
                    elif isinstance(key.fileobj, socket.socket):
                        self._accept(key.fileobj, key.data)
        finally:
            selector.close()
            os.close(read)

    def _do_jobs(self) -> None:
        with self._lock:
            jobs, self._jobs = self._jobs, []
        for job in jobs:
            job()

    def _accept(self, listener: socket.socket, accepted: Callable[[socket.socket], None]) -> None:
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:
            # Out of descriptors, or closed this instant. Without a pause the loop would spin on the readable listener.
            threading.Event().wait(0.05)
            return
        sock.setblocking(True)
        accepted(sock)


@dataclass(slots=True, eq=False)
class _Visit:
    """One connection of a client."""

    sock: socket.socket
    channel: Channel | None = None


class Forward:
    """One forward of one link. Made by `Link.forward`."""

    def __init__(
        self,
        link: Link,
        acceptor: Acceptor,
        remote: int,
        local: int | None,
        *,
        on_close: Callable[[Forward], None],
        on_change: Callable[[], None],
    ) -> None:
        self._link = link
        self._acceptor = acceptor
        self._on_close = on_close
        self._on_change = on_change
        self._lock = threading.Condition()
        self._visits: set[_Visit] = set()
        self._threads: set[threading.Thread] = set()
        self._closed = False
        self._proof: tuple[int, str | None] | None = None
        self._proved_at = 0.0
        self._since: datetime | None = None
        self._was = TunnelState.CONNECTING
        self._was_up = False
        self.remote = remote
        """Port on the host."""
        self._listener = _listen(remote, local, may_be_same=not _is_here(link))
        self.local: int = self._listener.getsockname()[1]
        """Port on 127.0.0.1."""
        acceptor.add(self._listener, self._accepted)

    @property
    def state(self) -> TunnelState:
        """What the last probe or visit proved on the present link."""
        link = self._link.state
        if link is LinkState.NEEDS_USER:
            return TunnelState.NEEDS_USER
        if link is not LinkState.UP:
            return TunnelState.DOWN if self._was_up or link is LinkState.BACKOFF else TunnelState.CONNECTING
        if self._proof is None or self._proof[0] != self._link.generation:
            return TunnelState.CONNECTING
        return TunnelState.UP if self._proof[1] is None else TunnelState.NO_SERVICE

    @property
    def since(self) -> datetime | None:
        """When it last came up; None while it is not up."""
        return self._since if self.state is TunnelState.UP else None

    @property
    def detail(self) -> str:
        """Why it is not up; empty while it is."""
        if self._link.state is LinkState.UP:
            return (self._proof[1] or "") if self._proof and self._proof[0] == self._link.generation else ""
        return self._link.problem or ""

    @property
    def closed(self) -> bool:
        """It was switched off."""
        return self._closed

    def wait(self, timeout: float) -> TunnelState:
        """Wait until it is up, has no service, or needs a person; at most `timeout` seconds. Answers the state."""
        deadline = self._link.clock.monotonic() + timeout
        settled = {TunnelState.UP, TunnelState.NO_SERVICE, TunnelState.NEEDS_USER}
        with self._lock:
            while self.state not in settled and not self._closed:
                left = deadline - self._link.clock.monotonic()
                if left <= 0:
                    break
                self._lock.wait(min(left, 0.5))
        return self.state

    def close(self) -> None:
        """Switch it off: the port is free and no thread of it lives when this returns."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            visits, threads = list(self._visits), list(self._threads)
            self._lock.notify_all()
        self._acceptor.remove(self._listener)
        for visit in visits:
            _end(visit)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(1.0)
        self._on_close(self)

    def wants_probe(self, now: float) -> bool:
        """A proof is missing, or old enough to be renewed. Live visitors are proof enough."""
        if self._closed:
            return False
        if self._proof is None or self._proof[0] != self._link.generation:
            return True
        age = now - self._proved_at
        if self._proof[1] is not None:
            return age >= self._link.limits.reprobe_s
        return age >= self._link.limits.recheck_s and not self._visits

    def probe(self) -> None:
        """Open the remote port once and let go: proves it, and costs the service one connection."""
        # Letting go writes to the connection, which may end at that very moment.
        with contextlib.suppress(GpudashError, EOFError, OSError):
            self._open(self._link.limits.channel_s, ("127.0.0.1", 0)).close()

    def note_link(self) -> None:
        """The link, or the proof, changed: keep `since`, and wake whoever waits."""
        state = self.state
        with self._lock:
            if state is TunnelState.UP and self._was is not TunnelState.UP:
                self._since = self._link.clock.now()
                self._was_up = True
            self._was = state
            self._lock.notify_all()

    def _open(self, timeout: float, source: tuple[str, int]) -> Channel:
        generation = self._link.generation
        try:
            channel = self._link.open_channel("127.0.0.1", self.remote, timeout, source=source)
        except NoService as exc:
            self._prove(generation, exc.text)
            raise
        except LinkDown:
            raise
        except HostError as exc:
            self._prove(generation, str(exc))
            raise
        self._prove(self._link.generation, None)
        return channel

    def _prove(self, generation: int, problem: str | None) -> None:
        before = self._proof
        self._proof = (generation, problem)
        self._proved_at = self._link.clock.monotonic()
        if self._proof != before:
            self._on_change()

    def _accepted(self, sock: socket.socket) -> None:
        visit = _Visit(sock)
        thread = threading.Thread(target=self._serve, args=(visit,), name=f"visit-{self.local}", daemon=True)
        with self._lock:
            if self._closed or len(self._visits) >= MOST_VISITS:
                sock.close()
                return
            self._visits.add(visit)
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:
            self._leave(visit, thread)

    def _serve(self, visit: _Visit) -> None:
        try:
            visit.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            visit.channel = self._enter(visit.sock.getpeername())
            if not self._closed:
                _pump_both(visit.sock, visit.channel)
        except (GpudashError, OSError):
            pass  # The client sees its connection closed; the state and detail of the forward say why.
        finally:
            self._leave(visit, threading.current_thread())

    def _enter(self, peer: tuple[str, int]) -> Channel:
        """A channel to the remote port; over a short outage the client is kept waiting rather than turned away."""
        clock, limits = self._link.clock, self._link.limits
        until = clock.monotonic() + limits.hold_s
        while True:
            self._link.wait_up(max(0.0, until - clock.monotonic()))
            try:
                return self._open(limits.channel_s, peer)
            except LinkDown:
                if clock.monotonic() >= until or self._closed:
                    raise

    def _leave(self, visit: _Visit, thread: threading.Thread) -> None:
        _end(visit)
        visit.sock.close()
        with self._lock:
            self._visits.discard(visit)
            self._threads.discard(thread)


def _is_here(link: Link) -> bool:
    """The instance is this machine, as with the sandbox: its ports are ours."""
    host = link.address.host if link.address else ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _listen(remote: int, local: int | None, *, may_be_same: bool) -> socket.socket:
    if local is None:
        # The same number on the same machine would lead the forward back into itself.
        try:
            return _bind(remote if may_be_same and remote >= 1024 else 0)
        except OSError:
            return _bind(0)
    try:
        return _bind(local)
    except OSError as exc:
        hint = f"Choose another, as in -L OTHER:{remote}."
        raise PortBusy(f"Local port {local} cannot be opened: {exc.strerror or exc}.", hint=hint) from exc


def _bind(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _pump_both(sock: socket.socket, channel: Channel) -> None:
    """Move bytes both ways until both sides have ended; the end of one side is passed on and no more than that."""
    up = threading.Thread(target=_pump_up, args=(sock, channel), name="pump-up", daemon=True)
    up.start()
    _pump_down(channel, sock)
    up.join()


def _pump_up(sock: socket.socket, channel: Channel) -> None:
    try:
        while part := sock.recv(CHUNK):
            channel.sendall(part)
        channel.shutdown_write()
    except (OSError, EOFError):
        channel.close()


def _pump_down(channel: Channel, sock: socket.socket) -> None:
    hand_over(channel, sock)
    try:
        while part := channel.recv(CHUNK):
            if not isinstance(part, Receipt):
                sock.sendall(part)
        gone = channel.closed or not channel.get_transport().is_active()
        sock.shutdown(socket.SHUT_RDWR if gone else socket.SHUT_WR)
    except (OSError, EOFError):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        channel.close()


def _end(visit: _Visit) -> None:
    with contextlib.suppress(OSError):
        visit.sock.shutdown(socket.SHUT_RDWR)
    if visit.channel is not None:
        with contextlib.suppress(OSError, EOFError):
            visit.channel.close()
