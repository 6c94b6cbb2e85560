"""The power of a host, seen from the cloud: boot it, end it, and say what it is doing.

Nothing here waits for a state. Whoever looks at a host also finishes what was left half done (a boot that never began,
a process killed from outside, a disk to delete), so no state depends on one program staying alive.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import gpudash
from gpudash.errors import ProviderError
from gpudash.model.instance import InstanceState
from gpudash.providers.sandbox import processes
from gpudash.providers.sandbox import record as records
from gpudash.providers.sandbox.layout import HostDir, try_lock
from gpudash.providers.sandbox.record import HostRecord, Power

TOMBSTONE_S = 60.0
"""How long an ended host stays in listings."""

FORCE_AFTER_S = 8.0
"""A host that has not ended by itself so long after it was asked is killed, as a cloud would pull the plug."""

ERASE_TRIES = 3

MAX_SPAWNS = 3
"""Processes begun for one boot before it counts as failed."""

PACKAGE_ROOT = Path(gpudash.__file__).parent.parent

_PAUSE = threading.Event()


@dataclass(frozen=True, slots=True)
class Sight:
    """One host as it was just found."""

    record: HostRecord
    state: InstanceState
    word: str
    """The cloud's own word for the state."""


def is_alive(host: HostDir) -> bool:
    """Whether the host's process lives. A shared lock is tried, so that two who look do not deceive each other."""
    try:
        descriptor = os.open(host.alive_lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def look(host: HostDir) -> Sight | None:
    """Find out what a host is doing, and finish what was left undone. None where it is gone.

    Raises:
        ValueError: its record cannot be read.
        Unreachable: its record is locked by somebody who does not let go.
    """
    try:
        alive = is_alive(host)
        record = records.read(host)
        if _needs_care(record, alive):
            with host.locked():
                alive = is_alive(host)
                record = records.read(host)
                cared = _care(host, record, alive)
            if cared is None:
                return None
            record, alive = cared
    except FileNotFoundError:
        return None
    state, word = _describe(record, alive)
    return Sight(record, state, word)


def boot(host: HostDir) -> None:
    """Begin the host's process for the boot its record asks for. The caller holds the host's lock."""
    record = records.read(host)
    records.write(host, replace(record, spawns=record.spawns + 1))
    _spawn(host)


def turn_on(host: HostDir, started_at: str) -> None:
    """Start a stopped host. The caller holds the host's lock, and knows that its process does not live."""
    record = records.read(host)
    record = replace(
        record,
        power=Power.ON,
        power_real=time.time(),
        boots_asked=record.boots_asked + 1,
        spawns=0,
        started_at=started_at,
    )
    records.write(host, record)
    boot(host)


def turn_off(host: HostDir, power: Power) -> None:
    """Ask for a stop or the end. Asking again changes nothing.

    Raises:
        FileNotFoundError: no such host.
        ProviderError: a stop was asked of a host that is being terminated.
    """

    def ask(record: HostRecord) -> HostRecord:
        if record.power is Power.GONE and power is Power.OFF:
            raise ProviderError(f"Instance {record.id} is terminated; it cannot be stopped.")
        if record.power is power:
            return record
        return replace(record, power=power, power_real=time.time())

    records.change(host, ask)
    pid = own_pid(host)
    if pid is not None:
        processes.send([pid], signal.SIGTERM)


def pull_plug(host: HostDir) -> bool:
    """Kill every process of the host at once; False where one would not die."""
    return processes.kill_all(lambda: processes.of_host(host.path, own_pid(host)))


def own_pid(host: HostDir) -> int | None:
    """The pid of the host's process, where that is known to live; a recorded pid alone may be a stranger's by now."""
    try:
        record = records.read(host)
    except (FileNotFoundError, ValueError):
        return None
    return record.pid if record.boots_seen == record.boots_asked and is_alive(host) else None


def erase(folder: Path) -> None:
    """Delete a folder, whatever modes its files have.

    Raises:
        OSError: something in it cannot be deleted.
    """
    for attempt in range(ERASE_TRIES):
        _open_up(folder)
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError:  # somebody was just putting a file there
            if attempt == ERASE_TRIES - 1:
                raise
            _PAUSE.wait(0.05)


def _open_up(folder: Path) -> None:
    with contextlib.suppress(OSError):
        os.chmod(folder, stat.S_IRWXU)
    for place, names, _ in os.walk(folder):
        for name in names:
            inner = Path(place, name)
            if not inner.is_symlink():
                with contextlib.suppress(OSError):  # if it matters, the deletion says so
                    inner.chmod(stat.S_IRWXU)


def _needs_care(record: HostRecord, alive: bool) -> bool:
    if record.power is Power.GONE and not alive:
        return record.gone_real is None or time.time() - record.gone_real > TOMBSTONE_S
    if alive:
        return record.power is not Power.ON and time.time() - record.power_real > FORCE_AFTER_S
    if record.power is Power.ON and record.boots_seen < record.boots_asked:
        return record.spawns < MAX_SPAWNS
    return record.boots_swept < record.boots_seen


def _care(host: HostDir, record: HostRecord, alive: bool) -> tuple[HostRecord, bool] | None:
    if not _needs_care(record, alive):
        return record, alive
    if alive:
        pull_plug(host)
        return record, is_alive(host)
    if record.power is Power.GONE and record.gone_real is not None:
        erase(host.path)
        return None
    if record.power is Power.ON and record.boots_seen < record.boots_asked:
        boot(host)
        return records.read(host), True
    pull_plug(host)
    record = replace(record, boots_swept=record.boots_seen)
    if record.power is Power.GONE:
        for folder in (host.home, host.bin, host.run):
            erase(folder)
        host.host_key.unlink(missing_ok=True)
        record = replace(record, gone_real=time.time())
    records.write(host, record)
    return record, False


def _describe(record: HostRecord, alive: bool) -> tuple[InstanceState, str]:
    if record.power is Power.GONE:
        return (InstanceState.TERMINATING, "shutting-down") if alive else (InstanceState.TERMINATED, "terminated")
    if record.power is Power.OFF:
        return (InstanceState.STOPPING, "stopping") if alive else (InstanceState.STOPPED, "stopped")
    if alive and record.boots_ready == record.boots_asked:
        return InstanceState.RUNNING, "running"
    if alive:
        first = record.boots_asked == 1
        return (InstanceState.PENDING, "booting") if first else (InstanceState.STARTING, "starting")
    if record.boots_seen < record.boots_asked:
        return InstanceState.ERROR, "does not boot, see host.log"
    return InstanceState.STOPPED, "power lost"


def _spawn(host: HostDir) -> None:
    descriptor = os.open(host.alive_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _take(descriptor):
            return  # another process has begun it meanwhile
        log = os.open(host.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            # The shell goes at once, so that the host is nobody's child here and survives whoever launched it. The
            # lock is taken before and inherited: there is no moment in which the host is under way and looks dead.
            subprocess.run(
                [
                    "/bin/sh",
                    "-c",
                    '"$@" &',
                    "sh",
                    sys.executable,
                    "-m",
                    "gpudash.providers.sandbox.host",
                    "--dir",
                    str(host.path),
                    "--lock-fd",
                    str(descriptor),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(descriptor,),
                env=_boot_environment(host),
                cwd="/",
                check=True,
                timeout=10,
                start_new_session=True,
            )
        finally:
            os.close(log)
    except (OSError, subprocess.SubprocessError) as exc:
        raise ProviderError(f"The sandbox cannot start a process for {host.id}: {exc}.") from exc
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """The lock, even if somebody looks at it in the very moment."""
    for _ in range(50):
        if try_lock(descriptor):
            return True
        _PAUSE.wait(0.002)
    return False


def _boot_environment(host: HostDir) -> Mapping[str, str]:
    inherited = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    kept = {name: os.environ[name] for name in inherited if name in os.environ}
    path = [str(PACKAGE_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "PATH": os.defpath,
        **kept,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        processes.MARK: str(host.path),
    }
