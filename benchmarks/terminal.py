"""A child in a pty and an answering machine at the other end, for measuring what a person at a terminal would feel."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 160, 48
QUIET_S = 0.005
"""A repaint is over when nothing has come for so long; frames are 4 ms apart."""

ANSWERS = (
    (b"\x1b[?2026$p", b"\x1b[?2026;2$y"),
    (b"\x1b[?2048$p", b"\x1b[?2048;0$y"),
    (b"\x1b[6n", b"\x1b[1;1R"),
    (b"\x1b[c", b"\x1b[?62;22c"),
    (b"\x1b]11;?\x07", b"\x1b]11;rgb:0000/0000/0000\x07"),
)


class Terminal:
    """A running program, what it wrote, and what it cost."""

    def __init__(self, argv: Sequence[str], *, environment: dict[str, str]) -> None:
        self.started = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(environment)
            os.execvp(argv[0], list(argv))
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        self.seen = bytearray()
        self.bytes = 0

    def read(self, seconds: float, *, until: bytes | None = None) -> float | None:
        """Read for so long, or until those bytes come; when they came."""
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            if not select.select([self.fd], [], [], left)[0]:
                break
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                break
            now = time.perf_counter()
            self.bytes += len(data)
            self.seen += data
            for question, answer in ANSWERS:
                if question in data:
                    os.write(self.fd, answer)
            if until is not None and until in self.seen:
                return now
        return None

    def key(self, keys: bytes, *, wait_s: float = 0.5, quiet_s: float = QUIET_S) -> float | None:
        """Milliseconds from a key to the last byte of the repaint that follows it; None where none does."""
        self.drain()
        begun = time.perf_counter()
        os.write(self.fd, keys)
        last = None
        while select.select([self.fd], [], [], wait_s if last is None else quiet_s)[0]:
            self.bytes += len(os.read(self.fd, 65536))
            last = time.perf_counter()
        return None if last is None else (last - begun) * 1000

    def drain(self) -> None:
        while select.select([self.fd], [], [], 0)[0]:
            try:
                self.bytes += len(os.read(self.fd, 65536))
            except OSError:
                return

    def send(self, keys: bytes, *, times: int, every_s: float) -> None:
        """Type at a steady pace, reading what comes meanwhile."""
        due = time.perf_counter()
        for _ in range(times):
            os.write(self.fd, keys)
            due += every_s
            self.read(max(0.0, due - time.perf_counter()))

    def cpu_ms(self) -> float:
        """User and system time of all threads so far, by the scheduler's own nanoseconds."""
        threads = Path(f"/proc/{self.pid}/task")
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads.iterdir()) / 1e6

    def rss_mib(self) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@contextlib.contextmanager
def running(argv: Sequence[str], home: str) -> Iterator[Terminal]:
    """A program with a home of its own, ended at the end."""
    environment = {
        "HOME": home,
        "XDG_CONFIG_HOME": f"{home}/config",
        "XDG_STATE_HOME": f"{home}/state",
        "XDG_DATA_HOME": f"{home}/data",
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
        # Compiled as an installed program is; the first start of each kind fills it.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": f"{home}/pycache",
    }
    terminal = Terminal(argv, environment=environment)
    try:
        yield terminal
    finally:
        terminal.close()


def dashboard(rows: int) -> list[str]:
    """The dashboard over made-up rows."""
    return [sys.executable, "-m", "gpudash", "demo", "--synthetic", str(rows)]


def at(values: Sequence[float], part: float) -> float:
    """The value below which that part of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")
