"""The power button on a sandbox host: ``instance-end stop|terminate``.

statusd presses it when a lease or idle timeout runs out, and ``poweroff`` and ``shutdown`` on the host do too. It tells
the cloud what is wanted and returns; a moment later every process of the host is ended.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gpudash.errors import GpudashError
from gpudash.providers.sandbox import CAPABILITIES, faults, machine
from gpudash.providers.sandbox.faults import Fault
from gpudash.providers.sandbox.layout import HostDir
from gpudash.providers.sandbox.record import Power

_POWER = {"stop": Power.OFF, "terminate": Power.GONE}


def main() -> int:
    """Press it. Exit status 0: accepted."""
    parser = argparse.ArgumentParser(prog="instance-end", description="End this sandbox host.")
    parser.add_argument("--dir", required=True, help=argparse.SUPPRESS)
    parser.add_argument("action", choices=["stop", "terminate", "hibernate"])
    options = parser.parse_args()
    if options.action not in _POWER:
        sys.stderr.write(f"{CAPABILITIES.why_not['hibernate']}\n")  # type: ignore[index]  # a StrEnum is its text
        return 4
    host = HostDir(Path(options.dir))
    if faults.read(host.sandbox).on(Fault.NO_EFFECT, host.id):
        return 0
    try:
        machine.turn_off(host, _POWER[options.action])
    except (GpudashError, OSError) as exc:
        sys.stderr.write(f"instance-end: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
