"""What goes on inside an SSH connection of a sandbox host: one program a session, one socket a forward."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from gpudash.providers.sandbox import ptyhelper
from gpudash.providers.sandbox.children import Child, Children

CHUNK = 65536
CANNOT_RUN = 126
"""Exit status of a program that cannot be run."""
END_OF_FILE = b"\x04"
END_OF_FILE_REPEATS = 20
"""A shell that is just setting up its terminal drops a ^D; so it is told more than once that nothing more will come."""
HANG_UP_CHECK_S = 0.25


class Terminal:
    """The pseudo terminal of a session; made when the session begins."""

    def __init__(self, term: str, width: int, height: int) -> None:
        self.term = term
        self._size = (width, height)
        self._master: int | None = None
        self._lock = threading.Lock()

    def open(self) -> tuple[int, int]:
        """The two ends: ours and the program's."""
        master, slave = os.openpty()
        with self._lock:
            self._master = master
            self._apply()
        return master, slave

    def resize(self, width: int, height: int) -> None:
        """The person's window has another size now; programs in it are told by the kernel."""
        with self._lock:
            self._size = (width, height)
            self._apply()

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            if self._master is not None:
                os.close(self._master)
            self._master = None

    def _apply(self) -> None:
        if self._master is not None:
            width, height = self._size
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


class Session:
    """One program, with or without a terminal, until it ends."""

    def __init__(
        self,
        channel: Any,
        argv: Sequence[str],
        environment: Mapping[str, str],
        home: Path,
        children: Children,
        terminal: Terminal | None,
    ) -> None:
        self._channel = channel
        self._argv = list(argv)
        self._environment = dict(environment)
        self._home = home
        self._children = children
        self._terminal = terminal

    def start(self) -> None:
        """Run it in a thread of its own."""
        threading.Thread(target=self._run, name="session", daemon=True).start()

    def _run(self) -> None:
        try:
            status = self._run_piped() if self._terminal is None else self._run_in(self._terminal)
        except OSError as exc:
            status = CANNOT_RUN
            with contextlib.suppress(OSError):
                self._channel.sendall_stderr(f"{self._argv[0]}: {exc.strerror}\n".encode())
        with contextlib.suppress(OSError, EOFError):
            self._channel.send_exit_status(status)
        self._channel.close()

    def _run_piped(self) -> int:
        child = self._children.spawn(self._argv, env=self._environment, cwd=self._home)
        process = child.process
        stdin, stdout, stderr = (_detached(pipe) for pipe in (process.stdin, process.stdout, process.stderr))
        _thread(_feed, self._channel, stdin)
        error = _thread(_drain, stderr, self._channel.sendall_stderr)
        _drain(stdout, self._channel.sendall)
        error.join()
        return child.wait()

    def _run_in(self, terminal: Terminal) -> int:
        master, slave = terminal.open()
        alarm = _Alarm()
        try:
            argv = [sys.executable, "-I", "-S", ptyhelper.__file__, *self._argv]
            environment = {**self._environment, "TERM": terminal.term or "dumb", "SSH_TTY": os.ttyname(slave)}
            child = self._children.spawn(argv, env=environment, cwd=self._home, streams=(slave, slave, slave))
            _thread(self._type, child, os.dup(master), alarm)
            _thread(_ring_at_end, child, alarm)
            self._show(master, alarm.source)
        finally:
            os.close(slave)
            terminal.close()
        status = child.wait()
        alarm.close()
        return status

    def _type(self, child: Child, master: int, alarm: _Alarm) -> None:
        """From the person to the program. After the end of input it gets ^D; it is hung up only with the channel."""
        try:
            while data := _receive(self._channel):
                if not _put(master, data):
                    return
            repeats = END_OF_FILE_REPEATS
            while not child.ended(HANG_UP_CHECK_S):
                if repeats and not self._channel.closed:
                    repeats -= 1
                    _put(master, END_OF_FILE)
                if self._channel.closed:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child.process.pid, signal.SIGHUP)
                    alarm.ring()
                    return
        finally:
            os.close(master)

    def _show(self, master: int, alarm: int) -> None:
        """From the program to the person, until the alarm rings and all that was written is sent."""
        while master in select.select([master, alarm], [], [])[0]:
            data = _read(master)
            if not data or not _deliver(self._channel.sendall, data):
                return


def relay(channel: Any, target: socket.socket) -> None:
    """Let a forwarded connection flow both ways; each way ends by itself."""

    def outward() -> None:
        while data := _receive(channel):
            try:
                target.sendall(data)
            except OSError:
                break
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR if channel.closed else socket.SHUT_WR)

    def inward() -> None:
        out = _thread(outward)
        with contextlib.suppress(OSError):
            while data := target.recv(CHUNK):
                if not _deliver(channel.sendall, data):
                    break
        with contextlib.suppress(OSError, EOFError):
            channel.shutdown_write()
        out.join()
        channel.close()
        target.close()

    _thread(inward)


class _Alarm:
    """Wakes the thread that waits for a program's output."""

    def __init__(self) -> None:
        self.source, self._bell = os.pipe()
        self._lock = threading.Lock()

    def ring(self) -> None:
        with self._lock:
            if self._bell >= 0:
                os.write(self._bell, b"!")

    def close(self) -> None:
        with self._lock:
            os.close(self.source)
            os.close(self._bell)
            self._bell = -1


def _ring_at_end(child: Child, alarm: _Alarm) -> None:
    child.wait()
    alarm.ring()


def _detached(pipe: IO[bytes] | None) -> int:
    """The descriptor of a pipe, to be closed by whoever pumps it and not when some object is collected."""
    assert pipe is not None
    with pipe:
        return os.dup(pipe.fileno())


def _feed(channel: Any, stdin: int) -> None:
    try:
        while data := _receive(channel):
            if not _put(stdin, data):
                return
    finally:
        os.close(stdin)


def _drain(source: int, send: Callable[[bytes], None]) -> None:
    try:
        while data := _read(source):
            if not _deliver(send, data):
                return
    finally:
        os.close(source)


def _receive(channel: Any) -> bytes:
    try:
        return bytes(channel.recv(CHUNK))
    except OSError:
        return b""


def _deliver(send: Callable[[bytes], None], data: bytes) -> bool:
    try:
        send(data)
    except (OSError, EOFError):
        return False
    return True


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, CHUNK)
    except OSError:  # a terminal whose program has gone says EIO
        return b""


def _put(descriptor: int, data: bytes) -> bool:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        return False
    return True


def _thread(target: Callable[..., None], *args: Any) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, name="pump", daemon=True)
    thread.start()
    return thread
