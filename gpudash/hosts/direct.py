"""Hands what arrives on a channel to its client at once, in paramiko's own thread.

By default paramiko's thread puts each packet into a buffer and wakes a second thread that takes it out and sends it
on. That switch costs more than the packet: two threads fight for the interpreter's lock at every 32 kB. Here the packet
goes straight to the client's socket, and the second thread wakes once a megabyte to grant the host more, or when the
client does not keep up: then it takes over, so that a slow client holds up nobody else. Half the CPU time of before.
"""

from __future__ import annotations

import socket
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paramiko import Channel

GRANT_EVERY = 1 << 20
"""Bytes between two wake-ups; far less than a window, so the host never waits for a grant."""


class Receipt(bytes):
    """As many zero bytes as were handed over already. paramiko counts its length into the window; nobody reads it."""

    __slots__ = ()


def hand_over(channel: Channel, sock: socket.socket) -> None:
    """From now on what arrives on `channel` goes to `sock`. `recv` answers receipts, and what `sock` did not take."""
    pipe = channel.in_buffer
    pipe.direct, pipe.handed, pipe.is_behind, pipe.fault = sock, 0, True, None
    # The object stays the same: a packet that arrives at this very moment is buffered in it, and comes first.
    pipe.__class__ = _direct_pipe()


@cache
def _direct_pipe() -> type:
    from paramiko.buffered_pipe import BufferedPipe

    class DirectPipe(BufferedPipe):  # type: ignore[misc]  # paramiko has no types
        """Made here because paramiko is loaded only when the first link connects."""

        direct: socket.socket
        handed: int
        is_behind: bool
        fault: OSError | None

        def feed(self, data: bytes) -> None:
            with self._lock:
                rest = memoryview(data)
                if not self.is_behind and not self._buffer and self.fault is None:
                    rest = rest[self._send(rest) :]
                if rest:
                    self._buffer.frombytes(rest)
                if rest or self.handed >= GRANT_EVERY or self.fault is not None:
                    self._cv.notify_all()

        def _send(self, data: memoryview) -> int:
            try:
                sent = self.direct.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return 0
            except OSError as exc:
                self.fault = exc
                return len(data)
            self.handed += sent
            return sent

        def read(self, nbytes: int, timeout: float | None = None) -> bytes:
            """For one reader, which has sent on all that it got before it asks again."""
            with self._lock:
                self.is_behind = False
                while not (self._buffer or self._closed or self.fault or self.handed >= GRANT_EVERY):
                    self._cv.wait()
                if self.fault is not None:
                    raise self.fault
                if self.handed >= GRANT_EVERY:
                    receipt, self.handed = Receipt(self.handed), 0
                    return receipt
                self.is_behind = bool(self._buffer)
                data = self._buffer.tobytes()
                del self._buffer[:]
                return bytes(data)

    return DirectPipe
