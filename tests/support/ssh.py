"""The real OpenSSH programs against a host, with a configuration file of the test's own."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from gpudash.model.instance import Instance

OPTIONS = """\
    StrictHostKeyChecking yes
    UserKnownHostsFile {folder}/known_hosts
    IdentitiesOnly yes
    IdentityAgent none
    LogLevel ERROR
    ConnectTimeout 10
    ControlMaster no
"""


class Ssh:
    """Runs ``ssh``, ``scp``, ``sftp`` and ``rsync`` for named hosts."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "ssh_config"
        self._folder = folder
        self.config.write_text("Host *\n" + OPTIONS.format(folder=folder))

    def know(self, name: str, instance: Instance, host_key: str) -> str:
        """Make the instance reachable as `name`, with its host key known beforehand."""
        address = instance.ssh
        assert address is not None
        with (self._folder / "known_hosts").open("a") as file:
            file.write(f"{name} {host_key}\n")
        entry = (
            f"Host {name}\n    HostName {address.host}\n    Port {address.port}\n    User {address.user}\n"
            f"    IdentityFile {address.identity_file}\n    HostKeyAlias {name}\n"
        )
        self.config.write_text(entry + self.config.read_text())
        return name

    def run(
        self, program: str, *args: str, stdin: bytes | None = None, check: bool = True, timeout: float = 30
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one of the programs to its end."""
        options = ["-e", f"ssh -F {self.config}"] if program == "rsync" else ["-F", str(self.config)]
        done = subprocess.run(
            [program, *options, *args], input=stdin or b"", capture_output=True, timeout=timeout, check=False
        )
        if check:
            assert done.returncode == 0, (done.args, done.returncode, done.stdout, done.stderr)
        return done

    def start(self, program: str, *args: str) -> subprocess.Popen[bytes]:
        """Run one that stays."""
        argv = [program, "-F", str(self.config), *args]
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
