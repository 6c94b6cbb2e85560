"""Where everything of the sandbox lies, and the two kinds of lock it needs.

* ``sandbox/``: clock.json, faults.json, id_ed25519(.pub), launch.lock, faults.lock
* ``sandbox/hosts/ID/``: record.json, record.lock, alive.lock, host_key(.pub), host.log, home/, bin/, run/
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpudash.errors import Unreachable

LOCK_PATIENCE_S = 5.0
"""How long a lock is waited for. They are held for milliseconds; a holder that was suspended must not hang a lane."""

_PAUSE = threading.Event()


@dataclass(frozen=True, slots=True)
class HostDir:
    """The folder of one host."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def record(self) -> Path:
        return self.path / "record.json"

    @property
    def home(self) -> Path:
        """The disk: kept by a stop, deleted by a terminate."""
        return self.path / "home"

    @property
    def bin(self) -> Path:
        """First on the host's PATH."""
        return self.path / "bin"

    @property
    def run(self) -> Path:
        """What lives as long as one boot."""
        return self.path / "run"

    @property
    def log(self) -> Path:
        return self.path / "host.log"

    @property
    def host_key(self) -> Path:
        """The SSH host key; made at the first boot and kept as long as the disk."""
        return self.path / "host_key"

    @property
    def alive_lock(self) -> Path:
        """Held by the host's process for life: the lock, not a pid, proves that it runs."""
        return self.path / "alive.lock"

    @property
    def spot_notice(self) -> Path:
        """There while the cloud means to take the host back."""
        return self.run / "spot-notice.json"

    @property
    def sandbox(self) -> Sandbox:
        return Sandbox(self.path.parent.parent)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the record: read, change and write it as one step."""
        with held(self.path / "record.lock"):
            yield


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The folder of the whole sandbox."""

    path: Path

    @property
    def clock_file(self) -> Path:
        return self.path / "clock.json"

    @property
    def faults_file(self) -> Path:
        return self.path / "faults.json"

    @property
    def client_key(self) -> Path:
        """The private key that opens every host."""
        return self.path / "id_ed25519"

    @property
    def hosts_dir(self) -> Path:
        return self.path / "hosts"

    def host(self, host_id: str) -> HostDir:
        """The folder of that host; it need not exist."""
        return HostDir(self.hosts_dir / host_id)

    def hosts(self) -> tuple[HostDir, ...]:
        """Every host there is a folder for, by id."""
        try:
            names = sorted(os.listdir(self.hosts_dir))
        except FileNotFoundError:
            return ()
        return tuple(self.host(name) for name in names if name.startswith("sb-"))

    @contextlib.contextmanager
    def launching(self) -> Iterator[None]:
        """One launch at a time, so that one token never makes two hosts."""
        self.hosts_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with held(self.path / "launch.lock"):
            yield


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock file for a moment.

    Raises:
        Unreachable: somebody else kept it for too long.
        FileNotFoundError: its folder is gone.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        give_up = time.monotonic() + LOCK_PATIENCE_S
        while not try_lock(descriptor):
            if time.monotonic() > give_up:
                raise Unreachable(f"The sandbox is busy: {path} has been locked for {LOCK_PATIENCE_S:.0f} s.")
            _PAUSE.wait(0.005)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file if it is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_private(path: Path, body: bytes) -> None:
    """Replace a file as one step; only the owner can read it, from its first byte on."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
