"""A container as container clouds make them: real OpenSSH, no systemd, hardly a tool, a key of its own to end itself by."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.sshd import Sshd, until

KEY = "test-key-of-this-container"
TOOLS = ("sh", "cat", "rm", "env", "true", "bash", "sleep", "echo", "touch")
"""All that stands on its PATH, beside a Python: no systemctl, sudo, setsid, nohup or crontab."""


class Container:
    """Its files, its SSH server, and its end by the cloud's API with the key of the container itself."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.root, self.bin = folder / "root", folder / "bin"
        for path in (self.root / "root", self.root / "proc/1", self.bin):
            path.mkdir(parents=True)
        for name in TOOLS:
            found = next(Path(at, name) for at in ("/bin", "/usr/bin") if Path(at, name).exists())
            (self.bin / name).symlink_to(found)
        (self.bin / "python3").symlink_to("/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable)
        (self.root / ".dockerenv").touch()
        (self.root / "proc/1/environ").write_text(f"CONTAINER_API_KEY={KEY}\0CONTAINER_ID=7\0")
        environment = {"PATH": str(self.bin), "GPUDASH_ROOT": str(self.root), "GPUDASH_SYSROOT": str(self.root)}
        self.sshd = Sshd(folder / "s", "Subsystem none /bin/false", *options, environment=environment)
        self.home = self.sshd.home / ".gpudash"

    def __enter__(self) -> Container:
        self.sshd.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.sshd.kill()
        if (self.home / "current").exists():
            argv = [sys.executable, str(self.home / "current"), "--home", str(self.home), "--stop"]
            subprocess.run(argv, check=True, capture_output=True)

    def restart(self) -> None:
        """As a cloud does it: every process dies, the disk stays, the start script runs if there is one."""
        os.kill(self.pid, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{self.pid}").exists() or "Z" in Path(f"/proc/{self.pid}/stat").read_text())
        self.sshd.kill()
        self.sshd.start()
        script = self.root / "root/onstart.sh"
        if script.exists():
            environment = {"HOME": str(self.sshd.home), "PATH": str(self.bin), "GPUDASH_SYSROOT": str(self.root)}
            subprocess.run(["/bin/bash", str(script)], env=environment, timeout=30, check=True)

    @property
    def pid(self) -> int:
        return int(json.loads((self.home / "run.json").read_text())["pid"])
