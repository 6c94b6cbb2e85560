"""A socket that reads ahead, for paramiko.

paramiko asks the kernel twice for every packet, first for 16 bytes and then for the rest. Each question lets go of the
interpreter's lock, and with pumps waiting for it, getting it back costs more than the packet. Read ahead, a wake-up
brings what has come meanwhile: with a single stream some ten packets.
"""

from __future__ import annotations

import socket

AHEAD = 1 << 18
"""Bytes asked for at once."""


class ReadAheadSocket(socket.socket):
    """A connected socket of which one thread reads, through `recv` only."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over the descriptor of `sock`, which is of no use afterwards."""
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self._ahead = memoryview(bytearray(AHEAD))
        self._from = self._to = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """At most `size` bytes; asks the kernel only when all that was read ahead is used up."""
        start, left = self._from, self._to - self._from
        if not left:
            start, left = 0, self.recv_into(self._ahead, AHEAD, flags)
            self._to = left
        end = start + min(left, size)
        self._from = end
        return bytes(self._ahead[start:end])
