"""Which sessions on this machine are alive: each holds a lock file as long as it lives.

An operation is driven by one session at a time (a claim in the ledger). A session that was killed cannot give its
claims back; its lock is free though, so the next one to look gives them back for it, at once and without guessing
from process ids.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

SUFFIX = ".lock"


class Liveness:
    """This session's lock, and a look at those of others."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._descriptor = -1
        while self._descriptor < 0:
            self.owner = f"{os.getpid()}-{os.urandom(6).hex()}"
            self._path = folder / (self.owner + SUFFIX)
            self._descriptor = _lock_new(self._path)

    def is_alive(self, owner: str) -> bool:
        """That session holds its lock."""
        try:
            descriptor = os.open(self._folder / (owner + SUFFIX), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    def bury(self, last_rites: Callable[[str], None]) -> int:
        """Call `last_rites` with each owner that died, then remove its file; how many there were.

        In that order and under the dead one's lock: whoever is killed over it leaves the dead to the next, and who is
        just being born waits and finds out.
        """
        count = 0
        for path in self._folder.glob("*" + SUFFIX):
            descriptor = -1 if path == self._path else _lock_dead(path)
            if descriptor >= 0:
                try:
                    last_rites(path.name.removesuffix(SUFFIX))
                    path.unlink(missing_ok=True)
                    count += 1
                finally:
                    os.close(descriptor)
        return count

    def close(self) -> None:
        """End orderly. Removes the file before the lock is let go, so that nobody buries the living."""
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def _lock_new(path: Path) -> int:
    """A lock file of our own; -1 where someone took it for a dead one's between its making and its locking."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    if path.exists():
        return descriptor
    os.close(descriptor)
    return -1


def _lock_dead(path: Path) -> int:
    """The lock of a dead session; -1 where it lives, or someone else has it in hand."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return -1
    return descriptor
