"""One look at a host before a push: everything that decides what has to be done, in one round trip.

A shell script on stdin finds a Python that is new enough by running it, and that Python answers the rest as JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gpudash.errors import PushFailed
from gpudash.hosts.link import Link

PYTHONS = ("python3", "/opt/conda/bin/python3", "/usr/local/bin/python3", "/usr/bin/python3", "/venv/main/bin/python3")
"""Where rented images keep it."""

# Runs under any Python 3 (an old one must say no, not choke), hence the plain style; no single quote may occur in it.
_LOOK = r"""
import sys
if sys.version_info < (3, 8): sys.exit(1)
import fcntl, hashlib, json, os, subprocess
home = os.path.expanduser("~/.gpudash")
def read(name):
    try:
        with open(os.path.join(home, name), "rb") as file: return file.read()
    except OSError: return None
def digest(name):
    content = read(name)
    return None if content is None else hashlib.sha256(content).hexdigest()
def running():
    try:
        with open(os.path.join(home, "lock")) as lock: fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError: return False
    except OSError: return True
    return False
root = os.environ.get("GPUDASH_ROOT", "")
systemd = os.path.isdir(root + "/run/systemd/system")
sudo = False
if systemd and os.getuid() != 0:
    try: sudo = subprocess.call(["sudo", "-n", "true"], stdin=-3, stdout=-3, stderr=-3) == 0
    except OSError: pass
run = json.loads((read("run.json") or b"{}").decode())
try: releases = os.listdir(os.path.join(home, "releases"))
except OSError: releases = []
print(json.dumps(dict(
    python=sys.executable, version=sys.version.split()[0], uid=os.getuid(), home=home, root=root, systemd=systemd,
    sudo=sudo, running=running(), build=run.get("build"), port=run.get("port"), current=digest("current"),
    config=digest("config.json"), token=bool(read("token")), releases=releases, account_key=digest("account.key"))))
"""

_SCRIPT = """\
look='{look}'
for python in {pythons}; do
  command -v "$python" >/dev/null 2>&1 || continue
  "$python" -I -S -c "$look" </dev/null 2>/dev/null && exit 0
done
exit 7
"""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the look found."""

    python: str
    home: str
    """The folder of statusd there."""
    uid: int
    root: str
    systemd: bool
    """It really runs there; `systemctl` on PATH proves nothing."""
    sudo: bool
    running: bool
    """Some statusd holds its lock."""
    build: str | None
    port: int | None
    current: str | None
    """Hash of the release in force."""
    config: str | None
    """Hash of the configuration."""
    account_key: str | None
    """Hash of the account's key, where one was put there."""
    token: bool
    releases: tuple[str, ...]

    @property
    def can_use_systemd(self) -> bool:
        """A unit can be installed: systemd runs, and we are root or may become it without a password."""
        return self.systemd and (self.uid == 0 or self.sudo)


def probe(link: Link, *, timeout: float = 20.0) -> Sight:
    """Look at a host.

    Raises:
        PushFailed: it has no Python 3.8 or later, or does not run commands as a host does.
        LinkDown: no connection.
    """
    script = _SCRIPT.format(look=_LOOK, pythons=" ".join(PYTHONS))
    found = link.exec("sh -s", timeout=timeout, stdin=script.encode())
    if found.exit_status == 7:
        raise PushFailed(f"{link.name} has no Python 3.8 or later.", hint="Install python3 there and push again.")
    try:
        return _sight(json.loads(found.text.strip().splitlines()[-1]))
    except (ValueError, KeyError, IndexError, TypeError) as exc:
        raise PushFailed(f"{link.name} cannot be looked at: {found.complaint}") from exc


def _sight(body: dict[str, Any]) -> Sight:
    wanted = {name: body[name] for name in Sight.__slots__}
    return Sight(**{**wanted, "releases": tuple(body["releases"])})
