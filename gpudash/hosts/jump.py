"""The way to a host that is not reachable directly, as the user's own ``~/.ssh/config`` describes it.

paramiko knows nothing of ProxyJump and ProxyCommand and would connect past them. `ssh -G` answers as OpenSSH would, and
OpenSSH itself then carries the stream, with the user's keys and host keys for the machines in between.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

from gpudash.model.instance import SshAddress

ASK_S = 5.0
"""For ``ssh -G``, which takes some 8 ms."""


def way_to(address: SshAddress, home: Path) -> list[str] | None:
    """The command whose standard streams lead to the host's SSH port, or None where it is reached directly."""
    config = home / ".ssh" / "config"
    if not config.is_file():
        return None
    base = ["ssh", "-F", str(config), "-o", "BatchMode=yes"]
    try:
        said = subprocess.run(
            [*base, "-G", "-p", str(address.port), "-l", address.user, address.host],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ASK_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    options = dict(line.split(" ", 1) for line in said.stdout.splitlines() if " " in line)
    jump, command = options.get("proxyjump", "none"), options.get("proxycommand", "none")
    if jump != "none":
        *before, last = jump.split(",")
        through = ["-J", ",".join(before)] if before else []
        user_host, _, port = last.rpartition(":") if _has_port(last) else (last, "", "")
        return [*base, *through, *(["-p", port] if port else []), "-W", _target(address), user_host]
    if command != "none":
        filled = command.replace("%h", address.host).replace("%p", str(address.port)).replace("%r", address.user)
        return ["sh", "-c", f"exec {filled}"]
    return None


def _has_port(place: str) -> bool:
    return place.rpartition(":")[2].isdigit() and (place.count(":") == 1 or "]" in place)


def _target(address: SshAddress) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def through(command: list[str]) -> socket.socket:
    """A socket whose other end is `command`. The command ends when the socket is closed, and is waited for."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            child = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
    threading.Thread(target=child.wait, name="jump", daemon=True).start()
    return ours
