"""Starts and reaps the processes of a host, inside the host's own process.

On Linux the host is the "child subreaper": a daemon that forks itself away becomes the host's child again, and so can
be ended with it. One thread waits for all of them, which costs nothing while nothing ends.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpudash.providers.sandbox import processes

_PR_SET_CHILD_SUBREAPER = 36


class Child:
    """One process that a session waits for."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._ended = threading.Event()
        self.exit_status = -1

    def wait(self) -> int:
        """The exit status as a shell would give it: 128 + n after signal n."""
        self._ended.wait()
        return self.exit_status

    def ended(self, timeout_s: float) -> bool:
        """Whether it has ended, or does so within that time."""
        return self._ended.wait(timeout_s)

    def end(self, exit_status: int) -> None:
        """Told by the reaper."""
        self.exit_status = exit_status
        self.process.returncode = exit_status
        self._ended.set()


class Children:
    """All processes of the host."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, Child] = {}
        self._began = threading.Event()
        self._past_s = 0.0
        self._is_closed = False
        adopt_orphans()
        threading.Thread(target=self._reap, name="reaper", daemon=True).start()

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        streams: tuple[int, int, int] = (subprocess.PIPE, subprocess.PIPE, subprocess.PIPE),
    ) -> Child:
        """Run a program in a session of its own.

        Raises:
            OSError: it cannot be run, or the host is going down.
        """
        with self._lock:  # held until it is known, or the reaper could take its exit status for a stranger's
            if self._is_closed:
                raise OSError(errno.ESHUTDOWN, "the host is going down")
            process = subprocess.Popen(
                list(argv),
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                bufsize=0,
            )
            child = self._known[process.pid] = Child(process)
        self._began.set()
        return child

    def close(self) -> None:
        """Start nothing any more."""
        with self._lock:
            self._is_closed = True

    def cpu_seconds(self) -> float:
        """CPU time of all that ran here and of all that runs, where the system tells."""
        return self._past_s + processes.cpu_seconds_below(os.getpid())

    def _reap(self) -> None:
        while True:
            self._began.clear()
            try:
                pid, status, usage = os.wait4(-1, 0)
            except ChildProcessError:
                self._began.wait()
                continue
            with self._lock:
                child = self._known.pop(pid, None)
                self._past_s += usage.ru_utime + usage.ru_stime
            if child is not None:
                code = os.waitstatus_to_exitcode(status)
                child.end(code if code >= 0 else 128 - code)


def adopt_orphans() -> bool:
    """Become the parent of every orphan below; False where the system has no such thing."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
