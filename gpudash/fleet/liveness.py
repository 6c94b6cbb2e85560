"""Which sessions on this machine are alive: each holds a lock file as long as it lives.

An operation is driven by one session at a time (a claim in the ledger). A session that was killed cannot give its
claims back; its lock is free though, so the next one to look gives them back for it, at once and without guessing
from process ids.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from pathlib import Path

SUFFIX = ".lock"


class Liveness:
    """This session's lock, and a look at those of others."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.owner = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._folder = folder
        self._path = folder / (self.owner + SUFFIX)
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

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

    def bury(self) -> list[str]:
        """Owners that died, each named once to whoever comes first."""
        dead = []
        for path in self._folder.glob("*" + SUFFIX):
            if path != self._path and _is_free(path):
                dead.append(path.name.removesuffix(SUFFIX))
        return dead

    def close(self) -> None:
        """End orderly. Removes the file before the lock is let go, so that nobody buries the living."""
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def _is_free(path: Path) -> bool:
    """Take the lock of a dead session and remove its file; False where it lives or someone else buried it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            return True
        return False
    finally:
        os.close(descriptor)
