"""EC2's six state names, refined by the reason that stands beside them. Pure.

A terminated instance is terminated whatever ended it: it bills nothing, and `notice` tells the reason. (Showing a
launch that EC2 gave up as ``error`` would count it as billing until EC2 forgets it an hour later.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gpudash.model.instance import InstanceState

_STATES = {
    "pending": InstanceState.STARTING,
    "running": InstanceState.RUNNING,
    "stopping": InstanceState.STOPPING,
    "stopped": InstanceState.STOPPED,
    "shutting-down": InstanceState.TERMINATING,
    "terminated": InstanceState.TERMINATED,
}
_MOMENT = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[^)]*\)")
HIBERNATED = "Client.UserInitiatedHibernate"
_NOTICES = {
    "Client.InstanceInitiatedShutdown": "powered itself off",
    "Server.SpotInstanceTermination": "spot: reclaimed by AWS",
    "Server.SpotInstanceShutdown": "spot: stopped by AWS",
    "Server.ScheduledStop": "stopped by AWS: its hardware is retired",
    "Server.InsufficientInstanceCapacity": "AWS has no capacity for it",
    "Server.InternalError": "AWS failed to start it",
    "Client.InternalError": "failed at start; its disk or key may be unusable",
    "Client.VolumeLimitExceeded": "failed at start: the account's disk limit is reached",
    "Client.InvalidSnapshot.NotFound": "failed at start: a snapshot is missing",
    "Client.UserInitiatedShutdown": None,
    HIBERNATED: None,
    "": None,
}


def state_of(record: Mapping[str, Any]) -> InstanceState:
    """Our word for one DescribeInstances record."""
    state = _STATES.get(provider_state(record), InstanceState.UNKNOWN)
    if state is InstanceState.STOPPED and reason_code(record) == HIBERNATED:
        return InstanceState.HIBERNATED
    return state


def provider_state(record: Mapping[str, Any]) -> str:
    """EC2's own word."""
    return str((record.get("State") or {}).get("Name") or "")


def reason_code(record: Mapping[str, Any]) -> str:
    """Why it is in that state, by EC2's code."""
    return str((record.get("StateReason") or {}).get("Code") or "")


def ended_at(record: Mapping[str, Any]) -> datetime | None:
    """When it was terminated: the moment that stands in EC2's transition reason, as in ``User initiated (2026-03-01
    12:00:00 GMT)``. EC2 has no field for it."""
    found = _MOMENT.search(str(record.get("StateTransitionReason") or ""))
    if provider_state(record) != "terminated" or found is None:
        return None
    return datetime.fromisoformat(found[1]).replace(tzinfo=UTC)


def notice_of(record: Mapping[str, Any]) -> str | None:
    """What a person should know of why it is down; None where they asked for it or it is up."""
    if provider_state(record) in {"pending", "running"}:
        return None
    code = reason_code(record)
    return _NOTICES.get(code, (record.get("StateReason") or {}).get("Message") or code)
