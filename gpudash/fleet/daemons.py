"""The daemons on the hosts: one client for each link, kept so that its stream is."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from gpudash.errors import HostError, NeedsUser
from gpudash.fleet.record import Record
from gpudash.model.host import HostStatus, parse_status

if TYPE_CHECKING:
    from gpudash.fleet.desk import Desk
    from gpudash.hosts import Link
    from gpudash.hosts.client import StatusClient


class Daemons:
    """Clients by link. Importing the SSH stack waits until the first is asked for."""

    def __init__(self) -> None:
        self._clients: WeakKeyDictionary[Link, StatusClient] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def of(self, link: Link) -> StatusClient:
        """The client that rides on a link."""
        from gpudash.hosts.client import StatusClient

        with self._lock:
            client = self._clients.get(link)
            if client is None:
                client = self._clients[link] = StatusClient(link)
            return client


def client(desk: Desk, record: Record, patience_s: float) -> StatusClient:
    """The daemon of an instance, once there is a connection.

    Raises:
        LinkDown: there is none in that time.
        NeedsUser: a person must decide first.
    """
    link = desk.hosts().link(record.instance)
    link.wait_up(patience_s)
    return desk.daemons.of(link)


def ask(daemon: StatusClient) -> HostStatus | None:
    """What the daemon says, or None where none answers.

    Raises:
        NeedsUser: a person must decide first.
    """
    try:
        return parse_status(daemon.status())
    except NeedsUser:
        raise
    except (HostError, ValueError):
        return None
