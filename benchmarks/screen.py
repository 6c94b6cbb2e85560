"""The screen in a real pty, in one command: ``python benchmarks/screen.py [--quick] [--posting PROGRAM]``.

Every line is one measure beside its target. Programs that are compared take turns in one run, so that all see the same
machine: a one-widget Textual app, htop, a DataTable app of as many rows, and posting where there is one (version 2.11
needs tree-sitter below 0.26: with 0.26 it ends in a segmentation fault before its first frame). CPU is user and system
time of all threads, not time on the wall. The other end of the pty answers as a terminal without the kitty protocol.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from terminal import HEIGHT, ROOT, WIDTH, Terminal, at, dashboard, running

DOWN, UP, TAB, ESCAPE, REFRESH = b"\x1b[B", b"\x1b[A", b"\t", b"\x1b", b"\x12"
SETTLED_S = 6.0
"""After so long a dashboard of 10,000 rows has read, drawn and summed up everything."""

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
        for n in range(10_000):
            table.add_row(*[f"cell {n} {c}" for c in range(10)], key=str(n))
        table.focus()
        self.set_interval(1, self.tick)
    def tick(self):
        table = self.query_one(DataTable)
        top = int(table.scroll_y)
        for n in range(top, min(10_000, top + 46)):
            for key in self.keys[5:9]:
                table.update_cell(str(n), key, str(random.random()))
Table().run()
"""

TICKS = """
import os, statistics, sys, time
from gpudash.config import load
from gpudash.ui import launcher
from gpudash.ui.app import GpudashApp
from textual.screen import Screen
spent = {"ticks": [], "tick": 0.0}
def timed(kind, name):
    inner = getattr(kind, name)
    def outer(self, *args):
        if name == "beat":
            spent["ticks"].append(spent["tick"]); spent["tick"] = 0.0
        begun = time.thread_time()
        result = inner(self, *args)
        spent["tick"] += time.thread_time() - begun
        return result
    setattr(kind, name, outer)
timed(GpudashApp, "beat"); timed(Screen, "_on_timer_update"); timed(GpudashApp, "_draw_changes")
ready = GpudashApp.on_ready
def on_ready(self):
    ready(self)
    def stop():
        with open(sys.argv[2], "w") as file:
            file.write(str(statistics.median(spent["ticks"][3:]) * 1000))
        os._exit(0)
    self.set_timer(float(sys.argv[3]), stop)
GpudashApp.on_ready = on_ready
launcher.launch(launcher.Run(load(), synthetic=int(sys.argv[1])))
"""

FILL = """
import gc, time
from gpudash.ui import columns
from gpudash.ui.synthetic.rows import SyntheticFleet
from gpudash.ui.view import View
gc.disable()
fleet = SyntheticFleet(10_000)
view = View(columns.FIELDS, columns.needle)
view.sort_by(columns.FIRST, columns.SORT_FIRST)
begun = time.thread_time()
view.replace_all(fleet.store.records)
view.rebuild(fleet.clock.now())
print((time.thread_time() - begun) * 1000)
"""


def row(what: str, measured: str, target: str = "", *, good: bool | None = None) -> None:
    """One line: what, the figure, what it should be, and whether it is."""
    verdict = "" if good is None else "ok" if good else "MISSED"
    print(f"{what:<56}{measured:>34}   {target:<26}{verdict}", flush=True)


def least(what: str, value: float, unit: str, limit: float, *, note: str = "") -> None:
    row(what, f"{value:.1f} {unit}{note}", f"<= {limit:g} {unit}", good=value <= limit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--posting", default=shutil.which("posting"), help="the program to compare starts with")
    options = parser.parse_args()
    quick = options.quick
    with tempfile.TemporaryDirectory() as home:
        python, load = sys.version.split()[0], os.getloadavg()[0]
        print(f"{WIDTH}x{HEIGHT}, Python {python}, {os.cpu_count()} CPUs, load {load:.1f}\n")
        frames(home, 3 if quick else 9, options.posting)
        keys(home, 1 if quick else 3, 120 if quick else 250)
        many_rows(home, 3 if quick else 9)
        ticks(home, 8.0 if quick else 20.0)
        loads(home, 4.0 if quick else 10.0)
        dialogs(home, 8 if quick else 30)
        print(f"\nload at the end {os.getloadavg()[0]:.1f}")
        environment = os.environ | {"HOME": home, "XDG_STATE_HOME": f"{home}/state", "PYTHONPATH": str(ROOT)}
        reset = [sys.executable, "-m", "gpudash", "sandbox", "reset", "--yes"]
        subprocess.run(reset, env=environment, check=False, capture_output=True)


def frames(home: str, times: int, posting: str | None) -> None:
    """Starts in turns. The least of each is compared, which other load disturbs least."""
    demo = [sys.executable, "-m", "gpudash", "demo"]
    starts: list[tuple[Sequence[str], bytes]] = [
        ([sys.executable, "-c", ONE_WIDGET], b"LIVE-FRAME"),
        (demo, b"BURN"),
        (demo, b"gpudash"),
    ]
    if posting:
        starts.append(([posting], b"paste a curl"))
    measured: list[list[float]] = [[] for _ in starts]
    for number in range(times + 1):
        for times_of_it, (argv, mark) in zip(measured, starts, strict=True):
            shutil.rmtree(f"{home}/state/gpudash/frames", ignore_errors=True)
            with running(argv, home) as terminal:
                seen = terminal.read(15, until=mark)
                if seen is not None and number:
                    times_of_it.append((seen - terminal.started) * 1000)
    one, ours, early, *others = [min(values, default=float("nan")) for values in measured]
    middle, own_middle = (statistics.median(values) for values in measured[:2])
    row("first live frame, one-widget Textual app", f"{one:.0f} ms (median {middle:.0f})")
    words = f"{ours:.0f} ms = {ours / one:.2f}x (median {own_middle:.0f} = {own_middle / middle:.2f}x)"
    row("first live frame, gpudash demo", words, "<= 1.5x one widget", good=ours / one <= 1.5)
    row("first bytes, gpudash demo (early frame)", f"{early:.0f} ms")
    for other in others:
        words = f"{other:.0f} ms, ours {ours / other:.2f}x"
        row("first live frame, posting", words, "<= 0.4x posting", good=ours / other <= 0.4)
    if not others:
        row("first live frame, posting", "not there; --posting PROGRAM", "<= 0.4x posting")


def keys(home: str, rounds: int, count: int) -> None:
    """Cursor keys in four programs, in turns."""
    programs: list[tuple[str, Sequence[str], float]] = [
        ("100 rows ticking", dashboard(100), SETTLED_S),
        ("10,000 rows ticking", dashboard(10_000), SETTLED_S),
        ("a DataTable of 10,000 rows, 4 columns ticking", [sys.executable, "-c", DATA_TABLE], 9.0),
    ]
    if shutil.which("htop"):
        programs.append(("htop", ["htop", "-d", "10"], 2.0))
    measured: dict[str, list[float]] = {name: [] for name, _, _ in programs}
    for _ in range(rounds):
        for name, argv, settled in programs:
            with running(argv, home) as terminal:
                terminal.read(settled)
                measured[name] += arrows(terminal, count)
    for name, took in measured.items():
        p50, p95, p99 = at(took, 0.5), at(took, 0.95), at(took, 0.99)
        ours = name.endswith("rows ticking")
        good = (p50 <= 3 and p95 <= 5 and p99 <= 8) if ours else None
        words = f"{p50:.1f} / {p95:.1f} / {p99:.1f} ms"
        row(f"key to repaint p50/p95/p99, {name}", words, "<= 3 / 5 / 8 ms" if ours else "", good=good)


def arrows(terminal: Terminal, count: int, *, gap_s: float = 0.02) -> list[float]:
    took = []
    for number in range(count):
        took.append(terminal.key(DOWN if number % 40 < 20 else UP))
        time.sleep(gap_s)
    return [ms for ms in took if ms is not None]


def many_rows(home: str, times: int) -> None:
    """What is done with all 10,000 rows at once."""
    with running(dashboard(10_000), home) as terminal:
        terminal.read(SETTLED_S)
        took: list[float] = []
        for _ in range(times):
            os.write(terminal.fd, REFRESH)
            took += arrows(terminal, 40, gap_s=0.005)
            terminal.read(1.5)
        least("key to repaint p95 while all 10,000 are refreshed", at(took, 0.95), "ms", 10)
        os.write(terminal.fd, b"/")
        terminal.read(0.5)
        typed = []
        for text in ("train", "account:aws", "guard:armed", "price>3"):
            typed += [terminal.key(letter.encode()) or 0.0 for letter in text]
            terminal.read(0.3)
            for _ in text:
                os.write(terminal.fd, b"\x7f")
            terminal.read(0.5)
        least("filter key at 10,000 rows, median", at(typed, 0.5), "ms", 16, note=f" (p90 {at(typed, 0.9):.1f})")
    with running(dashboard(10_000), home) as terminal:
        terminal.read(SETTLED_S)
        sorts = []
        for letter in b"SUNAGBHCILEF" * (times // 3):
            sorts.append(terminal.key(bytes((letter,))) or 0.0)
            time.sleep(0.15)
        least("sort at 10,000 rows, median", at(sorts, 0.5), "ms", 16, note=f" (p90 {at(sorts, 0.9):.1f})")
    fills = [float(run(FILL)) for _ in range(times)]
    least("first fill of 10,000 rows, CPU", min(fills), "ms", 16, note=f" (median {at(fills, 0.5):.1f})")


def run(script: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)
    return done.stdout


def ticks(home: str, seconds: float) -> None:
    """What a second costs while nobody touches anything, at 100 rows and at 10,000."""
    tick, cpu, sent, memory = {}, {}, {}, {}
    for rows in (100, 10_000):
        told = Path(home) / f"ticks-{rows}"
        script = [sys.executable, "-c", TICKS, str(rows), str(told), str(seconds)]
        with running(script, home) as terminal:
            terminal.read(seconds + 8)
        tick[rows] = float(told.read_text())
        with running(dashboard(rows), home) as terminal:
            terminal.read(SETTLED_S)
            spent, count = terminal.cpu_ms(), terminal.bytes
            terminal.read(seconds)
            cpu[rows], sent[rows] = (terminal.cpu_ms() - spent) / seconds, (terminal.bytes - count) / seconds / 1000
            memory[rows] = terminal.rss_mib()
    ratio = tick[10_000] / tick[100]
    words = f"{tick[10_000]:.1f} ms = {ratio:.2f}x of {tick[100]:.1f} at 100"
    row(
        "a second of drawing at 10,000 rows: tick, news, frames",
        words,
        "<= 5 ms, <= 1.3x",
        good=tick[10_000] <= 5 and ratio <= 1.3,
    )
    for rows in (100, 10_000):
        name = f"{rows:,} rows, everything ticking"
        least(f"idle CPU, {name}", cpu[rows] / 10, "%", 1)
        least(f"bytes a second, {name}", sent[rows], "kB/s", 10)
    least("memory, 10,000 rows", memory[10_000], "MiB", 60, note=f" ({memory[100]:.0f} at 100)")


def loads(home: str, seconds: float) -> None:
    """A mouse that never rests, and a finger on an arrow key, over 10,000 rows that tick."""
    with running(dashboard(10_000), home) as terminal:
        terminal.read(SETTLED_S)
        for what, rate, limit in (("100 mouse events a second", 100, 25), ("a held arrow key, 30 a second", 30, 10)):
            spent, begun = terminal.cpu_ms(), time.perf_counter()
            for number in range(int(seconds)):
                move = f"\x1b[<35;{20 + number};{{y}}M"
                if rate == 100:
                    for y in range(rate):
                        terminal.send(move.format(y=5 + y % 25).encode(), times=1, every_s=1 / rate)
                else:
                    terminal.send(DOWN, times=rate, every_s=1 / rate)
            share = (terminal.cpu_ms() - spent) / (time.perf_counter() - begun) / 10
            least(f"CPU of {what}", share, "%", limit)


def dialogs(home: str, times: int) -> None:
    """Open, move the focus, leave: until nothing more is drawn."""
    opened: dict[str, list[float]] = {"extend (+)": [], "stop (x)": [], "launch (n)": [], "palette (:)": []}
    moved, closed = [], []
    with running(dashboard(100), home) as terminal:
        terminal.read(SETTLED_S)
        for _ in range(times):
            for name, took in opened.items():
                key = name[name.index("(") + 1].encode()
                took.append(terminal.key(key, quiet_s=0.03) or 0.0)
                time.sleep(0.1)
                moved.append(terminal.key(TAB if key in b"xn" else DOWN, quiet_s=0.03) or 0.0)
                time.sleep(0.1)
                closed.append(terminal.key(ESCAPE, quiet_s=0.06) or 0.0)
                terminal.read(0.3)
    for name, took in opened.items():
        least(f"dialog opens, {name}, median", at(took, 0.5), "ms", 20, note=f" (first {took[0]:.1f})")
    least("focus moves inside them, median", at(moved, 0.5), "ms", 20, note=f" (p90 {at(moved, 0.9):.1f})")
    least("Escape without the kitty protocol, median", at(closed, 0.5), "ms", 60)


if __name__ == "__main__":
    main()
