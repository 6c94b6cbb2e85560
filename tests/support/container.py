"""A host that is a container, behind a real OpenSSH server: no systemd, no SFTP, no init to bring anything back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support.sshd import Sshd, until

KEY = "test-key-of-this-container"
TOOLS = ("sh", "cat", "rm", "env", "true", "bash", "sleep", "echo", "touch")
"""All that stands on its PATH, beside a Python: no systemctl, sudo, setsid, nohup or crontab."""


class Container:
    """Its files, its SSH server, and its end by the cloud's API with the key of the container itself."""

    def __init__(
        self, folder: Path, *options: str, at: tuple[str, int] | None = None, user: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.root, self.bin = folder / "root", folder / "bin"
        for path in (self.root / "root", self.root / "proc/1", self.bin):
            path.mkdir(parents=True)
        for name in TOOLS:
            found = next(Path(at, name) for at in ("/bin", "/usr/bin") if Path(at, name).exists())
            (self.bin / name).symlink_to(found)
        (self.bin / "python3").symlink_to("/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable)
        (self.root / ".dockerenv").touch()
        self.born_with({"CONTAINER_API_KEY": KEY, "CONTAINER_ID": "7"})
        variables = {
            "PATH": str(self.bin), "GPUDASH_ROOT": str(self.root), "GPUDASH_SYSROOT": str(self.root),
            **(environment or {}),
        }  # fmt: skip
        self.sshd = Sshd(folder / "s", "Subsystem none /bin/false", *options, environment=variables, at=at, user=user)
        self.home = self.sshd.home / ".gpudash"
        self.is_on = False

    def __enter__(self) -> Container:
        self.sshd.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.sshd.kill()
        if (self.home / "current").exists():
            argv = [sys.executable, str(self.home / "current"), "--home", str(self.home), "--stop"]
            subprocess.run(argv, check=True, capture_output=True)

    def born_with(self, variables: Mapping[str, str]) -> None:
        """What its first process has in its environment; SSH sessions do not inherit that."""
        text = "".join(f"{name}={value}\0" for name, value in variables.items())
        (self.root / "proc/1/environ").write_text(text)

    def boot(self, variables: Mapping[str, str], public_keys: Iterable[str]) -> None:
        """Begin as a cloud's image does: with its variables, open to the keys that the launch named."""
        self.born_with(variables)
        self.sshd.unauthorize()
        self.sshd.authorize(*public_keys)
        self.sshd.start()
        self.is_on = True

    def off(self) -> None:
        """Every process in it dies at once."""
        self.sshd.kill()
        self.is_on = False
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(self.pid, signal.SIGKILL)

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
        """Of its statusd."""
        return int(json.loads((self.home / "run.json").read_text())["pid"])
