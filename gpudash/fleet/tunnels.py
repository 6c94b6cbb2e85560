"""Forwards of the dashboard: opened, closed, remembered in the ledger, and back after the dashboard is reopened."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gpudash.errors import HostError, PortBusy, Refused
from gpudash.fleet.record import Record, closed_to_programs, is_reachable
from gpudash.hosts.tunnels import CloseRequest, close_tunnels, list_tunnels
from gpudash.model.instance import InstanceKey
from gpudash.model.tunnel import Tunnel

if TYPE_CHECKING:
    from gpudash.fleet.session import Session
    from gpudash.hosts.forward import Forward

CLOSE_S = 3.0
"""How long another process is given to close its forwards."""


def open_one(session: Session, record: Record, remote: int, local: int | None = None) -> Tunnel:
    """Forward a port, and remember that it is wanted. A wanted one that has its port taken gets another one.

    Raises:
        Refused: the instance does not run.
        PortBusy: the local port that was asked for is in use.
    """
    if (closed := closed_to_programs(record)) is not None:
        raise Refused(closed)
    if not is_reachable(record):
        raise Refused(f"{record.instance.name} is {record.instance.state.value}; a tunnel needs it running.")
    before = next((w.local for w in session.ledger.wanted_tunnels() if (w.key, w.remote) == (record.key, remote)), None)
    link = session.hosts.link(record.instance)
    forward: Forward
    if local is not None or before is None:
        forward = link.forward(remote, local)
    else:
        try:
            forward = link.forward(remote, before)
        except PortBusy:
            forward = link.forward(remote)
    session.ledger.want_tunnel(record.key, remote, forward.local)
    return _described(session, record.key, forward)


def close_some(session: Session, key: InstanceKey, remotes: Iterable[int] | None = None) -> None:
    """End forwards of an instance for good, whichever process holds them. None means all of it."""
    wanted = [w.remote for w in session.ledger.wanted_tunnels() if w.key == key]
    chosen: list[int | None] | None = None if remotes is None else list(remotes)
    for remote in wanted:
        if chosen is None or remote in chosen:
            session.ledger.unwant_tunnel(key, remote)
    link = session.hosts.peek(key) if session.has_hosts else None
    for forward in link.forwards if link is not None else ():
        if chosen is None or forward.remote in chosen:
            forward.close()
    requests = [CloseRequest(key.account, key.id, remote) for remote in chosen or [None]]
    for request in requests:
        close_tunnels(session.tunnels_dir, request, timeout=CLOSE_S)


def close_gone(session: Session, key: InstanceKey) -> None:
    """The instance is gone for good: nothing may hold on to its forwards, a supervisor left behind neither."""
    if any((tunnel.account, tunnel.instance_id) == (key.account, key.id) for tunnel in listed(session.tunnels_dir)):
        close_some(session, key)


def toggle(session: Session, record: Record) -> bool:
    """All off where any is on, else on: those of last time, or the service's port. Whether they are on now.

    Closed by a toggle, a forward is remembered for the next toggle but does not come back by itself.

    Raises:
        Refused: the instance does not run.
        HostError: none could be opened.
    """
    mine = [
        tunnel
        for tunnel in listed(session.tunnels_dir)
        if (tunnel.account, tunnel.instance_id) == (record.key.account, record.key.id)
    ]
    if mine:
        session.last_tunnels[record.key] = [(tunnel.remote, tunnel.local) for tunnel in mine]
        close_some(session, record.key)
        return False
    port = record.instance.service_port or session.config.defaults.service_port
    problem: HostError | None = None
    opened = 0
    for remote, local in session.last_tunnels.get(record.key) or [(port, None)]:
        try:
            _open_like_before(session, record, remote, local)
            opened += 1
        except PortBusy as exc:
            problem = exc
    if not opened and problem is not None:
        raise problem
    return True


def restore(session: Session, record: Record) -> None:
    """Bring back what was up when the dashboard was left, on the ports it had."""
    held = {
        t.remote
        for t in listed(session.tunnels_dir)
        if (t.account, t.instance_id) == (record.key.account, record.key.id)
    }
    for wanted in session.ledger.wanted_tunnels():
        if wanted.key == record.key and wanted.remote not in held:
            with contextlib.suppress(HostError):
                open_one(session, record, wanted.remote)


def listed(folder: Path) -> list[Tunnel]:
    """Every forward on this machine, whoever holds it."""
    return list_tunnels(folder)


def _open_like_before(session: Session, record: Record, remote: int, local: int | None) -> None:
    try:
        open_one(session, record, remote, local)
    except PortBusy:
        open_one(session, record, remote)


def _described(session: Session, key: InstanceKey, forward: Forward) -> Tunnel:
    for tunnel in session.hosts.tunnels():
        if (tunnel.account, tunnel.instance_id, tunnel.local) == (key.account, key.id, forward.local):
            return replace(tunnel)
    raise HostError(f"The forward to port {forward.remote} was closed at once.")
