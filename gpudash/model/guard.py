"""Whether anything will end an instance without a person, and whether that is proved. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from gpudash.model.host import HostStatus
from gpudash.model.instance import Instance
from gpudash.model.policy import EndAction, Policy

FRESH_FOR = timedelta(seconds=60)
"""A policy read back longer ago than this proves nothing any more."""


class GuardLevel(StrEnum):
    """How sure it is that the instance will end by itself."""

    ARMED = "armed"
    """The policy was read back from a live daemon or a provider's schedule a moment ago."""
    DEGRADED = "degraded"
    """Something will probably end it; the reason says what is not proved."""
    NONE = "none"
    """Nothing will end it."""


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """The guard of one instance at one moment."""

    level: GuardLevel
    reason: str
    """Why it is not armed; for an armed one, what was read back and how long ago."""


def judge(
    instance: Instance,
    wanted: Policy | None,
    status: HostStatus | None,
    seen_at: datetime | None,
    now: datetime,
    fresh_for: timedelta = FRESH_FOR,
) -> GuardVerdict | None:
    """Weigh the evidence. None where there is nothing to guard (no compute is billed).

    Args:
        instance: as listed.
        wanted: the policy in our ledger or the cloud's tags; None where no one set one.
        status: the last answer of its statusd, if ever.
        seen_at: when that answer came, by our clock.
        now: by our clock.
        fresh_for: how long an answer proves something; longer on a clock that runs fast.
    """
    if not instance.state.bills_compute:
        return None
    if status is None or seen_at is None:
        if instance.ssh is not None and instance.ssh.only_a_shell is not None:
            return GuardVerdict(GuardLevel.NONE, "no statusd can be put there: its SSH is a typed shell only")
        if wanted is None or not wanted.limits_anything:
            return GuardVerdict(GuardLevel.NONE, "no statusd, no deadline; press p to push it")
        return GuardVerdict(GuardLevel.NONE, "statusd never answered; press p to push it")
    if instance.started_at is not None and seen_at < instance.started_at:
        return GuardVerdict(GuardLevel.DEGRADED, "statusd was not seen since the last start")
    age = now - seen_at
    if not status.policy.limits_anything:
        return GuardVerdict(GuardLevel.NONE, "statusd runs without a lease or idle timeout; press + to set a lease")
    if age > fresh_for:
        return GuardVerdict(GuardLevel.DEGRADED, f"statusd silent for {int(age.total_seconds())} s")
    problem = _problem(wanted, status)
    if problem:
        return GuardVerdict(GuardLevel.DEGRADED, problem)
    own_end = f"; {powers(status)}" if status.can_end else ""
    return GuardVerdict(GuardLevel.ARMED, f"policy read back {int(age.total_seconds())} s ago{own_end}")


def powers(status: HostStatus) -> str:
    """What the host may do to itself: ``can stop and terminate itself``, or that something outside has to."""
    if not status.can_end:
        return "cannot end itself: the watchdog must"
    return f"can {' and '.join(action for action in EndAction if action in status.can_end)} itself"


def powerless(status: HostStatus) -> str | None:
    """Why the daemon's own end is no guard; None where it is one."""
    why = f" ({status.end_problems[0]})" if status.end_problems else ""
    if status.can_end is not None and not status.can_end:
        return powers(status) + why
    if not status.enforcing:
        return f"{powers(status)}, but not as its limits ask{why}" if status.can_end else "statusd does not enforce"
    return None if status.end_method else "statusd has no way to end this host"


def _problem(wanted: Policy | None, status: HostStatus) -> str | None:
    if (unable := powerless(status)) is not None:
        return unable
    if status.ending is not None and status.ending.last_error:
        return f"statusd cannot end the host: {status.ending.last_error}"
    if wanted is not None and not same_limits(wanted, status.policy):
        return "the host enforces other limits than were asked for"
    if status.policy.lease_deadline is None and status.policy.hard_deadline is None and status.unknown:
        return f"only an idle timeout, held off by a broken sensor ({', '.join(status.unknown)})"
    return None


def same_limits(one: Policy, other: Policy | None) -> bool:
    """Both would end the instance at the same moments in the same ways; revisions do not matter."""
    if one is other:
        return True
    return (
        other is not None
        and _same_moment(one.lease_deadline, other.lease_deadline)
        and _same_moment(one.hard_deadline, other.hard_deadline)
        and one.idle_timeout == other.idle_timeout
        and (one.idle_timeout is None or one.idle_action is other.idle_action)
    )


def _same_moment(one: datetime | None, other: datetime | None) -> bool:
    """Equal to the second, because JSON and tags carry whole seconds."""
    if one is None or other is None:
        return one is other
    return abs(one - other) < timedelta(seconds=1)
