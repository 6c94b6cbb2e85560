"""The screen in a real pty, in one command: ``python benchmarks/screen.py``. Prints measures beside targets.

Measured: the live first frame against a one-widget Textual app (and posting, htop, a DataTable app where they are
there), key to repaint over made-up rows, what a tick costs at 10,000 rows against 100, bytes per second, memory,
dialogs and Escape. The other end of the pty answers Textual's questions as a terminal would.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 160, 48

ONE_WIDGET = """
import os; os.environ.setdefault("TEXTUAL_FPS", "240")
from textual.app import App
from textual.widgets import Static
class One(App):
    def compose(self):
        yield Static("LIVE-FRAME")
    BINDINGS = [("q", "quit", "quit")]
One().run()
"""

DATA_TABLE = """
import os, random; os.environ.setdefault("TEXTUAL_FPS", "240")
from textual.app import App
from textual.widgets import DataTable
class Table(App):
    BINDINGS = [("q", "quit", "quit")]
    def compose(self):
        yield DataTable(cursor_type="row")
    def on_mount(self):
        table = self.query_one(DataTable)
        self.keys = table.add_columns(*[f"col {n}" for n in range(10)])
        for n in range(ROWS):
            table.add_row(*[f"cell {n} {c}" for c in range(10)], key=str(n))
        table.focus()
        self.set_interval(1, self.tick)
    def tick(self):
        table = self.query_one(DataTable)
        top = int(table.scroll_y)
        for n in range(top, min(ROWS, top + 46)):
            for key in self.keys[5:9]:
                table.update_cell(str(n), key, str(random.random()))
Table().run()
"""


class Terminal:
    """A child in a pty of its own, and an answering machine at the other end."""

    def __init__(self, argv: Sequence[str], *, environment: dict[str, str] | None = None) -> None:
        self.started = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(environment or {})
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
            self._answer(data)
            if until is not None and until in self.seen:
                return now
        return None

    def _answer(self, data: bytes) -> None:
        for question, answer in (
            (b"\x1b[?2026$p", b"\x1b[?2026;2$y"),
            (b"\x1b[?2048$p", b"\x1b[?2048;0$y"),
            (b"\x1b[6n", b"\x1b[1;1R"),
            (b"\x1b[c", b"\x1b[?62;22c"),
        ):
            if question in data:
                os.write(self.fd, answer)

    def key(self, keys: bytes, seconds: float = 0.5) -> float | None:
        """Seconds from a key to the last byte of the repaint that follows it."""
        self.drain()
        begun = time.perf_counter()
        os.write(self.fd, keys)
        if not select.select([self.fd], [], [], seconds)[0]:
            return None
        data = os.read(self.fd, 65536)
        last = time.perf_counter()
        self.bytes += len(data)
        while select.select([self.fd], [], [], 0.002)[0]:
            self.bytes += len(os.read(self.fd, 65536))
            last = time.perf_counter()
        return last - begun

    def drain(self) -> None:
        while select.select([self.fd], [], [], 0)[0]:
            try:
                self.bytes += len(os.read(self.fd, 65536))
            except OSError:
                return

    def cpu(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

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
    environment = {
        "HOME": home,
        "XDG_CONFIG_HOME": f"{home}/config",
        "XDG_STATE_HOME": f"{home}/state",
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
    return [sys.executable, "-m", "gpudash", "demo", "--synthetic", str(rows)]


def first_frames(starts: Sequence[tuple[Sequence[str], bytes]], home: str, times: int) -> list[list[float]]:
    """Milliseconds from the start to the mark, for each kind of start in turn, so that all see the same machine."""
    measured: list[list[float]] = [[] for _ in starts]
    for number in range(times + 1):
        for times_of_it, (argv, mark) in zip(measured, starts, strict=True):
            with running(argv, home) as terminal:
                seen = terminal.read(15, until=mark)
                if seen is not None and number:
                    times_of_it.append((seen - terminal.started) * 1000)
    return measured


def keys_ms(terminal: Terminal, count: int, *, gap_s: float = 0.02) -> list[float]:
    measured = []
    for number in range(count):
        took = terminal.key(b"\x1b[B" if number % 40 < 20 else b"\x1b[A")
        if took is not None:
            measured.append(took * 1000)
        time.sleep(gap_s)
    return sorted(measured)


def at(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


def tick_cost(rows: int, home: str, seconds: float) -> tuple[float, float, float]:
    """CPU ms a second, bytes a second, MiB, while nothing is touched."""
    with running(dashboard(rows), home) as terminal:
        terminal.read(5.0)
        cpu, sent = terminal.cpu(), terminal.bytes
        terminal.read(seconds)
        return (terminal.cpu() - cpu) / seconds * 1000, (terminal.bytes - sent) / seconds, terminal.rss_mib()


def row(what: str, measured: str, target: str) -> None:
    print(f"{what:<58}{measured:>26}   {target}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    quick = parser.parse_args().quick
    times, count, seconds = (3, 120, 5.0) if quick else (9, 500, 20.0)
    with tempfile.TemporaryDirectory() as home:
        print(
            f"{WIDTH}x{HEIGHT}, Python {sys.version.split()[0]}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n"
        )
        frames(home, times)
        keys(home, count)
        ticks(home, seconds)
        dialogs(home, 10 if quick else 40)
        reset(home)


def reset(home: str) -> None:
    """The demo started sandbox hosts; they go."""
    environment = os.environ | {"HOME": home, "XDG_STATE_HOME": f"{home}/state", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "gpudash", "sandbox", "reset", "--yes"], env=environment, check=False)


def frames(home: str, times: int) -> None:
    """Starts of one-widget app, dashboard and posting, in turns; the least of each, which other load disturbs least."""
    demo = [sys.executable, "-m", "gpudash", "demo"]
    starts = [([sys.executable, "-c", ONE_WIDGET], b"LIVE-FRAME"), (demo, b"BURN"), (demo, b"gpudash")]
    if shutil.which("posting"):
        starts.append((["posting"], b"POST"))
    measured = first_frames(starts, home, times)
    one, ours, early, *posting = [min(values, default=float("nan")) for values in measured]
    middle, own_middle = (statistics.median(values) for values in measured[:2])
    row("first live frame, one-widget Textual app", f"{one:.0f} ms (median {middle:.0f})", "")
    words = f"{ours:.0f} ms = {ours / one:.2f}x (median {own_middle:.0f})"
    row("first live frame, gpudash demo", words, "<= 1.5x one widget")
    row("first bytes, gpudash demo (early frame)", f"{early:.0f} ms", "")
    for other in posting:
        row("first live frame, posting", f"{other:.0f} ms, ours {ours / other:.2f}x", "<= 0.4x posting")


def keys(home: str, count: int) -> None:
    for rows in (100, 10_000):
        with running(dashboard(rows), home) as terminal:
            terminal.read(4.0)
            ordered = keys_ms(terminal, count)
            words = f"{at(ordered, 0.5):.1f} / {at(ordered, 0.95):.1f} / {at(ordered, 0.99):.1f} ms"
            row(f"key to repaint p50/p95/p99, {rows:,} rows ticking", words, "<= 3 / 5 / 8 ms")
    with running(dashboard(10_000), home) as terminal:
        terminal.read(4.0)
        os.write(terminal.fd, b"\x12")
        ordered = keys_ms(terminal, 60, gap_s=0.005)
        row("key to repaint p95 while all 10,000 are refreshed", f"{at(ordered, 0.95):.1f} ms", "<= 10 ms")
        took = [terminal.key(b"/") or 0, *(terminal.key(char.encode()) or 0 for char in "train")]
        row("filter keys at 10,000 rows, median", f"{statistics.median(took[1:]) * 1000:.1f} ms", "<= 16 ms")
    with running(dashboard(10_000), home) as terminal:
        terminal.read(4.0)
        took = [(terminal.key(key) or 0) * 1000 for key in (b"N", b"H", b"G", b"C", b"F")]
        row("sort at 10,000 rows, median", f"{statistics.median(took):.1f} ms", "<= 16 ms")
    if shutil.which("htop"):
        with running(["htop", "-d", "10"], home) as terminal:
            terminal.read(2.0)
            ordered = keys_ms(terminal, count // 2)
            words = f"{at(ordered, 0.5):.1f} / {at(ordered, 0.95):.1f} / {at(ordered, 0.99):.1f} ms"
            row("htop, for comparison", words, "")
    with running([sys.executable, "-c", DATA_TABLE.replace("ROWS", "10_000")], home) as terminal:
        terminal.read(8.0)
        ordered = keys_ms(terminal, count // 2)
        words = f"{at(ordered, 0.5):.1f} / {at(ordered, 0.95):.1f} / {at(ordered, 0.99):.1f} ms"
        row("a DataTable of 10,000 rows, 4 columns ticking", words, "")


def ticks(home: str, seconds: float) -> None:
    few, few_bytes, few_mib = tick_cost(100, home, seconds)
    many, many_bytes, many_mib = tick_cost(10_000, home, seconds)
    row("CPU a second with everything ticking, 100 rows", f"{few:.1f} ms", "")
    row(
        "CPU a second with everything ticking, 10,000 rows",
        f"{many:.1f} ms = {many / few:.2f}x",
        "<= 1.3x, <= 1 % idle",
    )
    row("bytes a second, 100 / 10,000 rows", f"{few_bytes / 1000:.1f} / {many_bytes / 1000:.1f} kB/s", "<= 10 kB/s")
    row("memory, 100 / 10,000 rows", f"{few_mib:.0f} / {many_mib:.0f} MiB", "<= 60 MiB")


def dialogs(home: str, times: int) -> None:
    with running(dashboard(100), home) as terminal:
        terminal.read(4.0)
        opened, moved, closed = [], [], []
        for _ in range(times):
            opened.append((terminal.key(b"+") or 0) * 1000)
            time.sleep(0.05)
            moved.append((terminal.key(b"\x1b[B") or 0) * 1000)
            time.sleep(0.05)
            closed.append((terminal.key(b"\x1b") or 0) * 1000)
            time.sleep(0.25)
        row("dialog opens, median", f"{statistics.median(opened):.1f} ms", "<= 20 ms")
        row("move inside it, median", f"{statistics.median(moved):.1f} ms", "<= 20 ms")
        row("Escape without the kitty protocol, median", f"{statistics.median(closed):.1f} ms", "<= 60 ms")


if __name__ == "__main__":
    main()
