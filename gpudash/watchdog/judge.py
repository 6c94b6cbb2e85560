"""Which instances are past their deadline, and what speaks against acting on that. Pure.

Nothing here ends an instance: a finding is a claim with its evidence. An instance is only ever found due from a listing
of this very look that came whole; whatever else was once known of it is a reason for an alarm, never for an end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gpudash.fleet.health import Health
from gpudash.fleet.record import Record
from gpudash.model.duration import format_duration
from gpudash.model.instance import InstanceKey, InstanceState
from gpudash.model.policy import EndAction, Policy

GRACE = timedelta(minutes=5)
"""How long after its lease a host may still be ending itself."""
SECOND = timedelta(seconds=1)


class Limit(StrEnum):
    """Which deadline has passed."""

    LEASE = "lease"
    """The lease and the grace after it."""
    HARD = "hard deadline"
    """The deadline that nothing moves."""
    PARENT = "parent"
    """The instance that it goes with."""


@dataclass(frozen=True, slots=True)
class Due:
    """One managed instance that should no longer run."""

    record: Record
    limit: Limit
    deadline: datetime
    action: EndAction
    overdue: timedelta

    @property
    def key(self) -> InstanceKey:
        return self.record.key

    @property
    def name(self) -> str:
        return self.record.instance.name or self.record.key.id

    @property
    def why(self) -> str:
        """For people: ``its lease ended 2h10m ago``."""
        rounded = self.overdue // SECOND * SECOND
        happened = "ended" if self.limit is Limit.PARENT else "passed"
        return f"its {self.limit.value} {happened} {format_duration(rounded)} ago"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one look found."""

    looked_at: int
    """Managed instances that bill, in listings that can be trusted."""
    due: tuple[Due, ...]
    """Longest overdue first."""
    alarms: tuple[str, ...]
    """What a person should know; none of it ends anything."""


def judge(
    records: Iterable[Record],
    health: Mapping[tuple[str, str], Health],
    *,
    asked_at: datetime,
    now: datetime,
    grace: timedelta = GRACE,
    orphaned: Mapping[InstanceKey, datetime] | None = None,
) -> Verdict:
    """Weigh every record.

    Args:
        records: what the store holds after the look.
        health: how each account and region answered.
        asked_at: when the look began; only what was confirmed since counts.
        now: by the clock the deadlines are written in.
        grace: how long after its lease an instance may still be ending itself.
        orphaned: child instances whose parent has ended, and since when; due also while they are stopped.
    """
    orphaned = orphaned or {}
    alarms = [_silence(state, now) for state in health.values() if state.state != "ok" or state.error]
    due: list[Due] = []
    looked_at = 0
    for record in records:
        since = orphaned.get(record.key)
        if not record.instance.managed or not (record.instance.state.bills_compute or since):
            continue
        found = _due(record, now, grace) if since is None else _goes_with_parent(record, since, now)
        if not _is_confirmed(record, health, asked_at):
            if found is not None:
                alarms.append(
                    f"{_title(record)} seems past its {found.limit.value}, but was not confirmed now: no action"
                )
            continue
        looked_at += 1
        if found is not None:
            due.append(found)
        elif not _limits(record):
            alarms.append(f"{_title(record)} is managed and has no deadline: nothing here will end it")
    return Verdict(looked_at, tuple(sorted(due, key=lambda item: -item.overdue)), tuple(alarms))


def _is_confirmed(record: Record, health: Mapping[tuple[str, str], Health], asked_at: datetime) -> bool:
    lane = health.get((record.key.account, record.key.region))
    answered = lane is not None and lane.state == "ok" and lane.error is None
    return answered and record.missing_since is None and record.listed_at >= asked_at


def _due(record: Record, now: datetime, grace: timedelta) -> Due | None:
    if record.instance.state in {InstanceState.STOPPING, InstanceState.TERMINATING}:
        return None
    limits = _limits(record)
    if not limits:
        return None
    action = (record.wanted or limits[0]).lease_action
    hard = min((policy.hard_deadline for policy in limits if policy.hard_deadline), default=None)
    if hard is not None and now > hard:
        return Due(record, Limit.HARD, hard, action, now - hard)
    leases = [policy.lease_deadline for policy in limits if policy.lease_deadline]
    if len(leases) < len(limits) or not leases:
        return None
    lease = max(leases)
    return Due(record, Limit.LEASE, lease, action, now - lease) if now > lease + grace else None


def _goes_with_parent(record: Record, since: datetime, now: datetime) -> Due:
    return Due(record, Limit.PARENT, since, EndAction.TERMINATE, max(now - since, timedelta(0)))


def _limits(record: Record) -> list[Policy]:
    """What is known of its limits: as decided, and as its host last said (which may have been extended there)."""
    known = [record.wanted, record.status.policy if record.status else None]
    return [policy for policy in known if policy is not None and (policy.lease_deadline or policy.hard_deadline)]


def _silence(health: Health, now: datetime) -> str:
    place = f"{health.account} ({health.region})" if health.region else health.account
    seen = f", last good answer {format_duration((now - health.as_of) // SECOND * SECOND)} ago" if health.as_of else ""
    return f"{place}: {health.error or 'no answer'}{seen}: no action there"


def _title(record: Record) -> str:
    return f"{record.instance.name or record.key.id} ({record.key})"
