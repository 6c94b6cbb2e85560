"""Policies as tags, and one policy out of what ledger, tags and host each remember.

The tags are ``gpudash:managed owner launch-token lease-deadline hard-deadline idle-timeout idle-action parent``, each
with the prefix. They survive the loss of this machine; the daemon's own file survives the loss of both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from gpudash.clock import iso, parse_iso
from gpudash.errors import UsageError
from gpudash.model.duration import format_duration, parse_duration
from gpudash.model.policy import EndAction, Policy

PREFIX = "gpudash:"
MANAGED = PREFIX + "managed"
OWNER = PREFIX + "owner"
LAUNCH_TOKEN = PREFIX + "launch-token"
LEASE_DEADLINE = PREFIX + "lease-deadline"
HARD_DEADLINE = PREFIX + "hard-deadline"
IDLE_TIMEOUT = PREFIX + "idle-timeout"
IDLE_ACTION = PREFIX + "idle-action"
PARENT = PREFIX + "parent"


def policy_tags(policy: Policy) -> dict[str, str]:
    """The limits as tags, for writing. A limit that is not set is written empty, so that an old value cannot stay."""
    idle = policy.idle_timeout
    return {
        MANAGED: "true",
        LEASE_DEADLINE: iso(policy.lease_deadline) or "",
        HARD_DEADLINE: iso(policy.hard_deadline) or "",
        IDLE_TIMEOUT: format_duration(idle) if idle is not None else "",
        IDLE_ACTION: policy.idle_action.value,
    }


def launch_tags(policy: Policy, *, token: str, owner: str, parent: str | None = None) -> dict[str, str]:
    """All tags of a new instance."""
    tags = policy_tags(policy) | {OWNER: owner, LAUNCH_TOKEN: token}
    return tags | {PARENT: parent} if parent else tags


def tags_policy(tags: Mapping[str, str]) -> Policy | None:
    """The limits that tags carry; None where they carry none. A tag that cannot be read counts as not set."""
    lease, hard = _moment(tags.get(LEASE_DEADLINE)), _moment(tags.get(HARD_DEADLINE))
    idle, action = tags.get(IDLE_TIMEOUT), tags.get(IDLE_ACTION, "")
    policy = Policy(
        lease_deadline=lease,
        hard_deadline=hard,
        idle_action=EndAction(action) if action in set(EndAction) else EndAction.STOP,
    )
    if idle:
        with contextlib.suppress(UsageError):
            policy = replace(policy, idle_timeout=parse_duration(idle))
    return policy if policy.limits_anything else None


def merged(*policies: Policy | None) -> Policy | None:
    """One policy out of several memories of it: the highest revision, its lease the latest known, never past the
    earliest hard deadline. A deadline that one of them extended is not lost, and none is stretched past the limit."""
    known = [policy for policy in policies if policy is not None]
    if not known:
        return None
    newest = max(known, key=lambda policy: policy.revision)
    hard = min((p.hard_deadline for p in known if p.hard_deadline is not None), default=None)
    lease = newest.lease_deadline
    if lease is not None:
        lease = max(p.lease_deadline for p in known if p.lease_deadline is not None)
    if lease is not None and hard is not None:
        lease = min(lease, hard)
    if (lease, hard) == (newest.lease_deadline, newest.hard_deadline):
        return newest
    return replace(newest, lease_deadline=lease, hard_deadline=hard)


def _moment(text: str | None) -> datetime | None:
    try:
        return parse_iso(text) if text else None
    except ValueError:
        return None
