"""httpx clients for one origin, and the limit on an answer as a whole.

httpx's own time-outs hold for one operation on the socket; a peer that sends a byte now and then keeps a request alive
for ever. So each socket read is also cut short by the moment at which the whole exchange must be over.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpudash.clock import SystemClock

if TYPE_CHECKING:
    import ssl

    import httpx


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. None of them is ever infinite."""

    connect: float = 4.0
    read: float = 20.0
    """Between two pieces of an answer, and until the first."""
    write: float = 10.0
    pool: float = 5.0
    total: float = 40.0
    """From the first byte sent to the last received."""


class Deadline(threading.local):
    """The moment (monotonic) at which this thread's exchange must be over."""

    at: float | None = None

    def left(self, timeout: float | None) -> float | None:
        """The shorter of a time-out and what is left; at least a millisecond, so that it is a time-out and no poll."""
        if self.at is None:
            return timeout
        left = max(self.at - SystemClock().monotonic(), 0.001)
        return left if timeout is None else min(timeout, left)


def make_client(deadline: Deadline, timeouts: Timeouts, context: ssl.SSLContext, *, keeps: bool) -> httpx.Client:
    """A client over HTTP/1.1; proxies come from the environment, redirects are never followed.

    Args:
        keeps: keep connections for the next call. A write wants a fresh one: on a kept connection that the cloud has
            just closed nobody can tell whether the request was read.
    """
    import httpx

    limits = httpx.Limits(
        max_connections=8, max_keepalive_connections=4 if keeps else 0, keepalive_expiry=50.0 if keeps else 0.0
    )
    client = httpx.Client(
        http1=True,
        http2=False,
        verify=context,
        limits=limits,
        follow_redirects=False,
        timeout=httpx.Timeout(connect=timeouts.connect, read=timeouts.read, write=timeouts.write, pool=timeouts.pool),
    )
    backend = _backend(deadline)
    for transport in (client._transport, *client._mounts.values()):
        # httpx has no argument for it; its pools (httpcore) do.
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = backend
    return client


def _backend(deadline: Deadline) -> Any:
    import httpcore

    class Stream(httpcore.NetworkStream):
        """A socket whose reads end with the exchange."""

        def __init__(self, inner: httpcore.NetworkStream) -> None:
            self._inner = inner

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            return self._inner.read(max_bytes, deadline.left(timeout))

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self._inner.write(buffer, deadline.left(timeout))

        def close(self) -> None:
            self._inner.close()

        def start_tls(
            self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
        ) -> httpcore.NetworkStream:
            return Stream(self._inner.start_tls(ssl_context, server_hostname, deadline.left(timeout)))

        def get_extra_info(self, info: str) -> Any:
            return self._inner.get_extra_info(info)

    class Backend(httpcore.SyncBackend):
        """Sockets of that sort."""

        def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
        ) -> httpcore.NetworkStream:
            return Stream(super().connect_tcp(host, port, timeout, local_address, socket_options))

    return Backend()
