"""What every process of this machine was started with."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def arguments() -> dict[int, str]:
    """The arguments of each process that is there, by pid."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # it has ended
            found[int(pid)] = Path("/proc", pid, "cmdline").read_bytes().decode(errors="replace")
    return found
