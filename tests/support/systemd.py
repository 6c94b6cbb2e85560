"""What systemd itself says of a unit, on the disk of a machine that only the test knows."""

from __future__ import annotations

import subprocess
from pathlib import Path

UNITS = "etc/systemd/system"


def systemd_says(*arguments: str) -> str:
    """What `systemd-analyze verify` finds wrong; it exits 0 on unknown keys, so it must say nothing at all."""
    argv = ["systemd-analyze", "verify", "--man=no", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stderr + done.stdout + (f"exit code {done.returncode}" if done.returncode else "")


def machine_disk(root: Path, *programs: str) -> Path:
    """What systemd looks at, for ``--root``: the targets that every unit leans on, ``env`` and these programs.

    Whether a user exists it does not check, so there are none.
    """
    targets = root / "usr/lib/systemd/system"
    targets.mkdir(parents=True)
    for name in ("sysinit", "basic", "network", "multi-user", "timers", "shutdown"):
        (targets / f"{name}.target").write_text(f"[Unit]\nDescription={name}\n")
    for path in ("/usr/bin/env", *programs):
        program = root / path.lstrip("/")
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    (root / UNITS).mkdir(parents=True)
    return root
