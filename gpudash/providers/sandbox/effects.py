"""Faults carried out on a host: stand still, go on, be told that the cloud takes it back."""

from __future__ import annotations

import contextlib
import json
import signal

from gpudash.providers.sandbox import faults, machine, processes
from gpudash.providers.sandbox import record as records
from gpudash.providers.sandbox.faults import Fault
from gpudash.providers.sandbox.layout import HostDir, write_private


def carry_out(host: HostDir, fault: Fault) -> None:
    """Bring one host in line with one switch, on or off. Faults of the cloud's interface need nothing here."""
    on = faults.read(host.sandbox).on(fault, host.id)
    if fault is Fault.HOST_FROZEN:
        (freeze if on else thaw)(host)
    elif fault is Fault.SPOT_NOTICE:
        announce(host)
    elif fault in (Fault.SSH_CUT, Fault.STATUSD_KILLED):
        pid = machine.own_pid(host)
        if pid is not None:
            processes.send([pid], signal.SIGUSR1)


def freeze(host: HostDir) -> None:
    """Stop every process of the host where it stands. Its record is held meanwhile, so that no lock freezes with it."""
    with host.locked():
        frozen: set[int] = set()
        pid = machine.own_pid(host)
        if pid is not None:
            processes.send([pid], signal.SIGSTOP)
            frozen.add(pid)
        while new := processes.of_host(host.path, pid) - frozen:
            processes.send(new, signal.SIGSTOP)
            frozen |= new


def thaw(host: HostDir) -> None:
    """Let every process of the host go on."""
    processes.send(processes.of_host(host.path, machine.own_pid(host)), signal.SIGCONT)


def announce(host: HostDir) -> None:
    """Write, or take away, the file by which a spot instance learns that the cloud takes it back."""
    switch = faults.read(host.sandbox).switch(Fault.SPOT_NOTICE)
    if not (switch.hits(host.id) and records.read(host).spot):
        host.spot_notice.unlink(missing_ok=True)
        return
    body = {"action": "terminate", "time": faults.takes_back_at(switch)}
    with contextlib.suppress(FileNotFoundError):  # a host that is off has no folder for it; its boot tells it
        write_private(host.spot_notice, json.dumps(body).encode())
