"""Asking the daemons on the hosts: whom, how often, and what to make of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gpudash.errors import HostError, Refused, StatusdError
from gpudash.fleet.daemons import client
from gpudash.fleet.desk import Desk
from gpudash.fleet.policytags import merged
from gpudash.fleet.record import Record, is_reachable
from gpudash.model.capability import Verb
from gpudash.model.guard import same_limits
from gpudash.model.host import HostStatus, parse_status
from gpudash.model.instance import InstanceKey

SANDBOX_EVERY_S = 1.0
CLOUD_EVERY_S = 5.0
"""Seconds between two questions to one host that answers."""
SILENT_EVERY_S = 15.0
"""And to one that does not."""
SAVE_EVERY_S = 15.0
"""How often an answer goes into the ledger, for commands that show the last reading."""
LINK_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class HostReading:
    """What came of asking one host."""

    key: InstanceKey
    at: datetime
    status: HostStatus | None = None
    body: Mapping[str, Any] | None = None
    problem: str | None = None
    is_gone: bool = False
    """The host was reached, and no daemon runs there."""


def is_asked(record: Record, *, linked: bool = False) -> bool:
    """Whether a host is asked at all: reachable, and ours, or a daemon was seen there, or a link is open anyway.

    Strangers are left alone: nobody agreed to an SSH connection to them.
    """
    if not is_reachable(record) or _is_coming_up(record):
        return False
    return record.instance.managed or record.status is not None or linked


def _is_coming_up(record: Record) -> bool:
    """A launch is on its way to the first daemon; asking before it is there only says so."""
    operation = record.operation
    return operation is not None and operation.verb is Verb.LAUNCH and operation.stage.is_open


def every_s(record: Record) -> float:
    """Real seconds between two questions to this host."""
    if record.status_problem is not None:
        return SILENT_EVERY_S if record.status is None else CLOUD_EVERY_S
    return SANDBOX_EVERY_S if record.instance.provider == "sandbox" else CLOUD_EVERY_S


def read_host(desk: Desk, record: Record, patience_s: float = LINK_PATIENCE_S) -> HostReading:
    """Ask one daemon. Blocking; every failure is part of the reading."""
    try:
        body = client(desk, record, patience_s).status()
        return HostReading(record.key, desk.clock.now(), parse_status(body), body)
    except (HostError, Refused) as exc:
        gone = isinstance(exc, StatusdError)
        return HostReading(record.key, desk.clock.now(), problem=str(exc), is_gone=gone)
    except ValueError as exc:
        return HostReading(record.key, desk.clock.now(), problem=f"statusd answers nonsense: {exc}")


def learn(desk: Desk, record: Record) -> bool:
    """Take over a lease that was extended on the host itself or from another machine; whether there was one.

    Only a later lease under the same hard deadline is believed; anything else stays a difference that the guard shows.
    """
    status, wanted = record.status, record.wanted
    if status is None or wanted is None or (record.operation is not None and record.operation.verb is Verb.EXTEND):
        return False
    real = merged(status.policy, wanted)
    later = status.policy.lease_deadline
    if real is None or later is None or wanted.lease_deadline is None or later <= wanted.lease_deadline:
        return False
    if wanted.hard_deadline != status.policy.hard_deadline:
        return False
    learnt = wanted.extended(later)
    if not same_limits(learnt, status.policy):
        return False
    desk.ledger.set_policy(record.key, learnt)
    return True
