"""Finds and ends every process of one host, from outside or inside it.

Two ways lead to a process, because each alone can be dodged: it descends from the host's process (which adopts orphans
on Linux), or it carries the host's mark in its environment, which outlives the host's process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

MARK = "GPUDASH_SANDBOX_HOST"
"""Variable that every process of a host inherits; its value is the host's folder."""

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAUSE = threading.Event()


def of_host(folder: Path, pid: int | None = None) -> set[int]:
    """Every live process of that host (or of all hosts below `folder`), its own included.

    Args:
        folder: the host's folder, or the folder of all hosts.
        pid: the host's own process, if it is known to be alive; its descendants are found by it.
    """
    table = _linux_table(folder) if sys.platform == "linux" else _ps_table(folder)
    found = {process for process, (_, marked) in table.items() if marked}
    if pid is not None and pid in table:
        found.add(pid)
    children: dict[int, list[int]] = {}
    for process, (parent, _) in table.items():
        children.setdefault(parent, []).append(process)
    todo = list(found)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found.add(child)
                todo.append(child)
    return found - {os.getpid()}


def cpu_seconds_below(pid: int) -> float:
    """CPU time used so far by all live processes below that one; 0 where there is no /proc to ask."""
    used: dict[int, float] = {}
    children: dict[int, list[int]] = {}
    for process, words in _linux_stats():
        children.setdefault(int(words[1]), []).append(process)
        used[process] = sum(map(int, words[11:15])) / _TICKS
    todo, total = list(children.get(pid, ())), 0.0
    while todo:
        process = todo.pop()
        total += used[process]
        todo += children.get(process, ())
    return total


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each; one that is gone meanwhile is no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def kill_all(find: Callable[[], set[int]], *, patience_s: float = 5.0) -> bool:
    """Kill what `find` finds until it finds nothing; False where something is still there after all."""
    give_up = time.monotonic() + patience_s
    while pids := find():
        send(pids, signal.SIGKILL)
        if time.monotonic() > give_up:
            return False
        _PAUSE.wait(0.01)
    return True


def _linux_table(folder: Path) -> dict[int, tuple[int, bool]]:
    """pid → (parent, carries the mark)."""
    mark = f"{MARK}={folder}".encode()
    return {process: (int(words[1]), _is_marked(process, mark)) for process, words in _linux_stats()}


def _linux_stats() -> Iterator[tuple[int, list[bytes]]]:
    """Each process with its ``stat`` from the state on; zombies are left out, for nothing runs in them."""
    if not _PROC.is_dir():
        return
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit():
            continue
        try:
            stat = (_PROC / entry.name / "stat").read_bytes()
        except OSError:
            continue
        words = stat[stat.rindex(b")") + 2 :].split()
        if words[0] not in (b"Z", b"X"):
            yield int(entry.name), words


def _is_marked(pid: int, mark: bytes) -> bool:
    try:
        environ = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return any(item == mark or item.startswith(mark + b"/") for item in environ.split(b"\0"))


def _ps_table(folder: Path) -> dict[int, tuple[int, bool]]:
    mark = f"{MARK}={folder}"
    listing = subprocess.run(
        ["ps", "-axwwE", "-o", "pid=,ppid=,stat=,command="], capture_output=True, text=True, check=False, timeout=10
    )
    table = {}
    for line in listing.stdout.splitlines():
        pid, parent, state, *command = line.split(None, 3)
        if state.startswith("Z"):
            continue
        words = command[0].split() if command else []
        marked = any(word == mark or word.startswith(mark + "/") for word in words)
        table[int(pid)] = (int(parent), marked)
    return table
